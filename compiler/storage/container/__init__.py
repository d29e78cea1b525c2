"""The entropy-coded container `.ocz`: a lossless compressor for model files.

::

    wire          split a serialized model into its tensors' data and the rest, and join them again
    data_files    split external data files into tensors
    archive       pack and unpack: graph, notes and bulk sections (`sections`), limits on everything a file declares
    tensors       one tensor: mask, table of values, symbols, bytes
    small_weights small streams, coded bit by bit with adaptive models (`adaptive`, `number_sets`)
    streams       large streams, coded in bulk: range coder with contexts sent in advance (`contexts`), Huffman

Deep Compression's third stage (Han et al., ICLR 2016, arXiv:1510.00149), with masks instead of gaps, and contexts.
"""
