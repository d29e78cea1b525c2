"""Computing in float16: the choice of nodes, and the Casts between them and the others."""
