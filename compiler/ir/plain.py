"""Graphs with plain initializers as weights, for packed files.

Plain weights pack smallest: the entropy coder finds indices and zeros itself, and predicts them from neighbours in
every direction. In an encoded file several indices share a byte, and decoding nodes are added.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.clone import clone_graph
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.ir.lazy import LazyTensor


def plain_graph(graph: Graph) -> Graph:
    """A copy of `graph` and its bodies with dense weights; arrays are shared, not copied.

    Only weights stored as vectors keep their form.
    """
    copied = clone_graph(graph)
    for body in copied.graphs():
        for constant in body.initializers:
            if _is_encoded(constant):
                constant.store_as(np.array(constant.values))
    return copied


def _is_encoded(constant: Constant) -> bool:
    stored = constant.stored
    if isinstance(stored, EncodedTensor):
        return stored.cells is None  # entropy coding sees only single values, not vectors
    return isinstance(stored, LazyTensor) and stored.is_sparse
