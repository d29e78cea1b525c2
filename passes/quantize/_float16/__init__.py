"""Computing in float16: which nodes, and the Casts between them and the others."""
