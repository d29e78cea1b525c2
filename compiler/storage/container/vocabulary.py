"""What small graphs are made of."""

VOCABULARY = b"onnx"
