"""Analyses of the graph for the rules of `simplify`."""
