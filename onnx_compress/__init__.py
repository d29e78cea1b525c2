"""onnx-compress: makes trained ONNX models smaller and faster, and proves it."""
