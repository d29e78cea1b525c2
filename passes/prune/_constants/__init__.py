"""Channels that are constant, dead or replaced by their mean, and the biases that take their part."""
