"""The pass that lets weights share a few values."""
