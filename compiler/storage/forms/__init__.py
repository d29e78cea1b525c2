"""The forms in which a weight can be stored, one file per form, and the choice of the cheapest."""
