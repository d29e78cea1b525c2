"""Passes that remove structures: channels, residual branches, borders of kernels."""
