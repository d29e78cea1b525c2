"""Weights as integers: sharing of scales, rounding, and the nodes that decode them."""
