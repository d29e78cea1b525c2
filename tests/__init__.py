"""Tests; the tree mirrors `compiler/` and `passes/`, and goldens are Markdown beside the test of the same name."""
