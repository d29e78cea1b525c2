"""Samples: where they come from, how they are checked, divided and batched."""
