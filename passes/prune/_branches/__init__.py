"""Residual branches: which ones to remove, and removing them."""
