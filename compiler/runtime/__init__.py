"""Everything that runs or times a model: the only part of the compiler that imports onnxruntime."""
