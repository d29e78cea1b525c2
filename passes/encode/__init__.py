"""The pass that chooses how weights are stored."""
