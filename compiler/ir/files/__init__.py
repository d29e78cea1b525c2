"""Model files: from protobuf to graph and back, external data, and packed files."""
