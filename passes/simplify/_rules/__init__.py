"""The rules of `simplify`, one file per rule."""
