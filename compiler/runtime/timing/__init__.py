"""Latencies of models and their layers, measured and remembered."""
