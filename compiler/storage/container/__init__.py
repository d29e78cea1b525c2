"""The entropy-coded container `.ocz`: a model's own bytes, in as few as can be.

::

    wire         the model's message without its tensors' data, and back
    outside      data files as rows of tensors
    archive      pack and unpack: graph, notes and bulk sections (`sections`), limits on all that a file declares
    tensors      one tensor: mask, table of values, symbols, bytes
    sequential   small streams, coded bit by bit by models that learn (`adaptive`, `values`)
    streams      large ones, coded in bulk: range coder with contexts told in front (`contexts`), Huffman (`huffman`)

Deep Compression's third stage (Han et al., ICLR 2016, arXiv:1510.00149), with masks instead of gaps and contexts.
"""
