"""The entropy-coded container `.ocz`: a model's own bytes, in as few as can be.

::

    wire          the model's message without its tensors' data, and back
    data_files    files of external data as rows of tensors
    archive       pack and unpack: graph, notes and bulk sections (`sections`), limits on all that a file declares
    tensors       one tensor: mask, table of values, symbols, bytes
    small_weights small streams, coded bit by bit by models that learn (`adaptive`, `number_sets`)
    streams       large ones, coded in bulk: range coder with contexts told in front (`contexts`), Huffman

Deep Compression's third stage (Han et al., ICLR 2016, arXiv:1510.00149), with masks instead of gaps and contexts.
"""
