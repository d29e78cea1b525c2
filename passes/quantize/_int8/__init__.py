"""Layers that compute in 8-bit integers: ranges of activations, regions, and writing them."""
