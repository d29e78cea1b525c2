"""Passes that let weights share few values."""
