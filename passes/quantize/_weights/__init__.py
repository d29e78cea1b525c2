"""Weights as integers: which ones share a scale, rounding, and the nodes that decode them."""
