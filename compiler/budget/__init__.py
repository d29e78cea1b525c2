"""Divide a budget: how strongly each part of a model is compressed."""
