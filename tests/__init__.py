"""Tests; the tree mirrors `compiler/` and `passes/`, and goldens are Markdown next to the test of the same name."""
