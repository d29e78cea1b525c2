"""How good a model's outputs are, and how far they are from another's."""
