"""How models are stored: the forms of single weights, and the entropy-coded container of whole models."""
