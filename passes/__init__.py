"""The passes: a folder is a verb, a file is one pass."""
