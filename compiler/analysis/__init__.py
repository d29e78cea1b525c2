"""Analyses of a graph, without running or changing it."""
