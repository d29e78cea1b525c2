"""Exact clean-up."""
