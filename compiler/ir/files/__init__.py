"""Files of models: from the protobuf to the graph and back, external data, and packed files."""
