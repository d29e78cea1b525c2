"""Exact clean-up of graphs."""
