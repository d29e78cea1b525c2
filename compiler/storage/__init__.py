"""How models are stored: the forms of single weights, and the entropy-coded container of whole models (`container`).

The forms are small programs of ONNX nodes that onnxruntime folds when it loads a model.

Measured with onnxruntime 1.32 on one thread:

- Everything here folds: in front of Conv, ConvTranspose, Gemm, MatMul, LSTM and Gather, in the main graph and in the
  bodies of If and Loop, at opsets 11, 13 and 21, whether the nodes stand in the body or around it, and at any size:
  the optimized graph is the one of the plain weights. Decoding a weight outside a body that reads it is even better
  there than a plain one: it becomes the body's own, and a Conv gets the blocked layout that it otherwise would not.
- A model of 25 million parameters loads 1.1 times as long as its dense twin from packed codebooks, 1.8 to 2.0 from
  plain bytes, 0.8 to 1.8 from gaps, 1.1 to 1.25 with scales; from bitmasks 3.7 to 5.7 times, with three times the
  memory. Looking up a table of *values* per byte is what makes packed codebooks fast: dividing the bytes apart
  takes three times as long.
- With graph optimization switched off nothing is folded and every run decodes.
"""
