"""Everything of onnx-compress that is not a pass."""
