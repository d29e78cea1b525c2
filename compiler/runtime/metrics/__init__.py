"""The quality of a model's outputs, and their distance from another model's."""
