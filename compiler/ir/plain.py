"""Graphs whose weights are plain initializers, for packed files.

Plain weights pack smallest: entropy coding finds indices, gaps and masks by itself, and sees the neighbours in every
direction. In an encoded file several of them share a byte, and the nodes that decode come on top.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.clone import clone_graph
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.ir.lazy import LazyTensor


def plain_graph(graph: Graph) -> Graph:
    """A copy of `graph` and its bodies with dense weights; arrays are shared with it, and not copied.

    Only weights that are cut into vectors with codebooks keep their form.
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
        return stored.cells is None  # of which entropy coding sees single values only
    return isinstance(stored, LazyTensor) and stored.is_sparse
