"""Everything that runs or times a model: the only place of the compiler with onnxruntime."""
