"""Element types and shapes of the values of a model."""
