"""Least squares: equations, their solvers, and solutions with zeros, codebooks or shared vectors."""
