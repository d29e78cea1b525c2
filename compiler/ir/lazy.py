"""Weights that stay in the file until they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.files.external import ExternalData
from onnx_compress.compiler.storage.interpret import MAX_BYTES

MAX_ELEMENTS = 1 << 40


class LazyTensor(LazyValues):
    """A tensor of the file: dense, sparse, or external; read on demand and never written.

    `tensor` holds the data (for a sparse tensor: the non-zero values), `sparse` is the whole sparse tensor, and
    `external` is the location of data outside the message. `shape` are integers, `dtype` is NumPy's (ml_dtypes for
    bfloat16, float8, int4).

    Raises ModelError if the data do not match the shape, which would be a giant allocation, or a crash later.
    """

    def __init__(self, tensor: onnx.TensorProto | onnx.SparseTensorProto, external: ExternalData | None = None) -> None:
        # graphsurgeon's constructor warns about types it does not know, and has no sizes for 4-bit types.
        self.sparse = tensor if isinstance(tensor, onnx.SparseTensorProto) else None
        self.tensor: onnx.TensorProto = tensor.values if isinstance(tensor, onnx.SparseTensorProto) else tensor
        self.external = external
        self.shape = tuple(tensor.dims)
        self.dtype = numpy_dtype(self.tensor)
        _check_shape(self.tensor.name, self.shape)
        self.nbytes = size_in_bytes(self.shape, self.dtype)
        if self.sparse is not None:
            _check_sparse(self.sparse, self.nbytes)
        elif external is None:
            _check_length(self.tensor)

    @property
    def is_sparse(self) -> bool:
        """Whether the file stores only the non-zeros."""
        return self.sparse is not None

    def load(self) -> np.ndarray:
        """The dense array, read-only; external data is a view of the mapped file."""
        if self.external is not None:
            return self.external.array(self.dtype, self.shape, self.tensor.data_type)
        array = np.asarray(numpy_helper.to_array(self.tensor) if self.sparse is None else _dense(self.sparse))
        array.flags.writeable = False
        return array


def numpy_dtype(tensor: onnx.TensorProto) -> np.dtype:
    """NumPy's type for a tensor's elements. Raises ModelError for a type that ONNX does not have."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except KeyError:
        raise ModelError(f"initializer '{tensor.name}' has the unknown element type {tensor.data_type}") from None


def size_in_bytes(shape: Sequence[int], dtype: np.dtype) -> int:
    """Bytes of a tensor as ONNX raw data: 4-bit and 2-bit types packed, a string counted as one byte."""
    return (math.prod(shape) * _bits(np.dtype(dtype)) + 7) // 8


def _bits(dtype: np.dtype) -> int:
    if dtype.kind in "OSU":
        return 8
    narrow = next((bits for bits, names in _NARROW.items() if dtype.name in names), None)
    return narrow or dtype.itemsize * 8


_NARROW = {4: ("int4", "uint4", "float4_e2m1fn"), 2: ("int2", "uint2")}


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    if any(extent < 0 for extent in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(f"initializer '{name}' declares the impossible shape {list(shape)}")


def _check_length(tensor: onnx.TensorProto) -> None:
    dtype, shape = numpy_dtype(tensor), list(tensor.dims)
    if tensor.HasField("raw_data"):
        held, needed, unit = len(tensor.raw_data), size_in_bytes(shape, dtype), "bytes"
        if dtype.kind == "O":
            raise ModelError(f"initializer '{tensor.name}' holds strings as raw bytes, which ONNX does not allow")
    else:
        held, needed, unit = _typed_count(tensor), _typed_need(dtype, shape), "values"
    if held != needed:
        raise ModelError(
            f"initializer '{tensor.name}' holds {held} {unit} where its shape {shape} needs {needed}: "
            "the file is damaged"
        )


def _typed_count(tensor: onnx.TensorProto) -> int:
    return len(getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type)))


def _typed_need(dtype: np.dtype, shape: Sequence[int]) -> int:
    """Number of entries of the typed field: a complex number takes two, narrow types share a byte."""
    count = math.prod(shape)
    if dtype.kind == "c":
        return 2 * count
    return size_in_bytes(shape, dtype) if _bits(dtype) < 8 else count


def _check_sparse(sparse: onnx.SparseTensorProto, nbytes: int) -> None:
    name, shape = sparse.values.name, list(sparse.dims)
    if onnx.TensorProto.EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
        raise ModelError(f"sparse initializer '{name}' has external data, which onnxruntime can't read either")
    if nbytes > MAX_BYTES:
        raise ModelError(f"sparse initializer '{name}' of shape {shape} is too large as a dense array")
    if sparse.indices.data_type != onnx.TensorProto.INT64:
        raise ModelError(f"sparse initializer '{name}': its indices must be int64")
    for part in (sparse.values, sparse.indices):
        _check_shape(name, tuple(part.dims))
        _check_length(part)
    indices = numpy_helper.to_array(sparse.indices)
    count = math.prod(sparse.values.dims)
    limits: Sequence[int] = [math.prod(shape)] if indices.ndim == 1 else shape
    fits = indices.shape in ((count,), (count, len(shape))) and len(sparse.values.dims) == 1
    if not fits or (count and ((indices < 0).any() or (indices.reshape(count, -1) >= limits).any())):
        raise ModelError(f"sparse initializer '{name}': its indices do not fit its shape {shape}")


def _dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 2:
        dense[tuple(indices.T)] = values
    else:
        dense.reshape(-1)[indices] = values
    return dense
