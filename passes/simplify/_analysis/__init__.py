"""What the rules of `simplify` know of a graph before they change it."""
