"""Sparse initializers: the non-zeros with their linear indices, (8 + s) bytes each.

Never chosen automatically: other forms are smaller, shape inference does not see them, and some tools silently drop
them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_compress.compiler.storage.weight import WeightValues


def sparse_tensor(weight: WeightValues, name: str) -> onnx.SparseTensorProto:
    """The weight as COO with int64 linear indices. An all-zero weight is written with one explicit zero."""
    at = weight.positions if len(weight.positions) else np.zeros(min(1, weight.size), np.int64)
    values = numpy_helper.from_array(np.ascontiguousarray(weight.flat[at]), name)
    indices = numpy_helper.from_array(at.astype(np.int64))
    return onnx.SparseTensorProto(values=values, indices=indices, dims=weight.shape)
