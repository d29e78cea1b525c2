"""How models are stored: the forms of single weights, and the entropy-coded container of whole models (`container`).

In memory a weight is a dense array with a `Structure`. The pass `encode` decides at the end how it is stored::

    values [shape]  +  Structure                       support, codebook, period, scale, cells   (structure)
        |                                              set by a pass, or inferred on load
        |  WeightValues: the views that forms need     non-zeros, distances, symbols, cells      (weight)
        v
    candidates                                         each Form gives a lower bound in bytes    (forms/*)
        |   codebook  packed  scaled  gaps  tile  bitmask  vectors
        v
    choice                                             fewest bytes; dense below 256 saved       (forms/choice)
        |   small weights may be decoded together      one program for several                   (forms/stack)
        v
    Program: constants and nodes                       run in NumPy, equal to the values by bits (program, interpret)
        |
        |  save: initializers, and nodes before the graph's own
        v
    model.onnx                                         onnxruntime folds the nodes when it loads the file
        |
        |  load: expressions with the pattern of a form                                          (recognition)
        v
    Program, run in NumPy                              the nodes leave the graph                 (interpret)
        |
        v
    values [shape]                                     a weight that nothing changes is saved in the form it had

A file `.ocz` (`container`) has no forms: it holds a whole model file, with the weights' values plain and entropy-coded.

Measured with onnxruntime 1.32 on one thread:

- Every form folds: in front of Conv, ConvTranspose, Gemm, MatMul, LSTM and Gather, in the main graph and in the
  bodies of If and Loop, at opsets 11, 13 and 21, with the nodes inside or outside the body, and at any size: the
  optimized graph equals that of the plain weights. For a weight that a body reads, decoding outside the body is better
  than a plain initializer: the weight becomes the body's own, and a Conv gets the blocked layout it otherwise misses.
- Load time of a model of 25 million parameters, compared with the dense model: 1.1 times for packed codebooks, 1.8 to
  2.0 for plain bytes, 0.8 to 1.8 for gaps, 1.1 to 1.25 for scales, 3.7 to 5.7 for bitmasks, which also take three times
  the memory. Packed codebooks are fast because each byte is looked up in a table of *values*; dividing the bytes into
  symbols takes three times as long.
- With graph optimization switched off nothing is folded, and every run decodes.
"""
