"""Weights that stay in the file until somebody reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.external import ExternalData

MAX_ELEMENTS = 1 << 40


class LazyTensor(LazyValues):
    """A tensor of the file: dense, sparse, or external; read on demand and never written.

    `tensor` is the TensorProto or SparseTensorProto; `external` says where the bytes lie when they are
    not in it. `shape` are whole numbers, `dtype` is NumPy's (ml_dtypes for bfloat16, float8, int4).
    """

    def __init__(self, tensor: onnx.TensorProto | onnx.SparseTensorProto, external: ExternalData | None = None) -> None:
        # graphsurgeon's own constructor warns about types it does not know and knows no 4-bit sizes.
        self.tensor = tensor
        self.external = external
        self.is_sparse = isinstance(tensor, onnx.SparseTensorProto)
        values = tensor.values if self.is_sparse else tensor
        self.shape = tuple(tensor.dims)
        self.dtype = numpy_dtype(values)
        _check_shape(values.name, self.shape)
        self.nbytes = size_in_bytes(self.shape, self.dtype)
        if self.external is None and not self.is_sparse:
            _check_length(tensor, self.nbytes)

    def load(self) -> np.ndarray:
        """The dense array, read-only; external data is a view of the mapped file."""
        if self.external is not None:
            return self.external.array(self.dtype, self.shape, self.tensor.data_type)
        array = self._dense() if self.is_sparse else np.asarray(numpy_helper.to_array(self.tensor))
        array.flags.writeable = False
        return array

    def _dense(self) -> np.ndarray:
        values = numpy_helper.to_array(self.tensor.values)
        indices = numpy_helper.to_array(self.tensor.indices)
        dense = np.zeros(self.shape, values.dtype)
        if indices.ndim == 2:
            dense[tuple(indices.T)] = values
        else:
            dense.reshape(-1)[indices] = values
        return dense


def numpy_dtype(tensor: onnx.TensorProto) -> np.dtype:
    """NumPy's type for a tensor's elements. Raises ModelError for a type that ONNX does not have."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except KeyError:
        raise ModelError(f"initializer '{tensor.name}' has the unknown element type {tensor.data_type}") from None


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    if any(extent < 0 for extent in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(f"initializer '{name}' declares the impossible shape {list(shape)}")


def _check_length(tensor: onnx.TensorProto, nbytes: int) -> None:
    """A declared shape that its data does not fill is a broken file, and would be a giant allocation."""
    if tensor.HasField("raw_data") and len(tensor.raw_data) != nbytes:
        raise ModelError(
            f"initializer '{tensor.name}' holds {len(tensor.raw_data)} bytes where its shape "
            f"{list(tensor.dims)} needs {nbytes}: the file is damaged"
        )
    if not tensor.HasField("raw_data") and nbytes > 64 and not _typed_count(tensor):
        raise ModelError(f"initializer '{tensor.name}' of shape {list(tensor.dims)} has no data: the file is damaged")


def _typed_count(tensor: onnx.TensorProto) -> int:
    fields = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
    return max(len(getattr(tensor, name)) for name in fields)


def size_in_bytes(shape: Sequence[int], dtype: np.dtype) -> int:
    """Bytes of a tensor as ONNX stores it raw: 4-bit and 2-bit types packed, a string counted as one byte."""
    return (math.prod(shape) * _bits(np.dtype(dtype)) + 7) // 8


def _bits(dtype: np.dtype) -> int:
    if dtype.kind in "OSU":
        return 8
    narrow = next((bits for bits, names in _NARROW.items() if dtype.name in names), None)
    return narrow or dtype.itemsize * 8


_NARROW = {4: ("int4", "uint4", "float4_e2m1fn"), 2: ("int2", "uint2")}
