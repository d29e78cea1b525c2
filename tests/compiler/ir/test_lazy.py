"""Tensors of a file: read on demand, refused on load if their data do not match their shape."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.lazy import LazyTensor, size_in_bytes
from tests.compiler.ir.everything import everything, sparse

FLOAT = np.arange(6, dtype=np.float32).reshape(2, 3)


def damaged(**changes: object) -> TensorProto:
    tensor = numpy_helper.from_array(FLOAT, "w")
    for key, value in changes.items():
        if key == "dims":
            del tensor.dims[:]
            tensor.dims.extend(value)
        else:
            setattr(tensor, key, value)
    return tensor


@pytest.mark.parametrize("tensor", everything().graph.initializer, ids=lambda tensor: tensor.name)
def test_values_are_those_of_onnx(tensor):
    lazy = LazyTensor(tensor)
    expected = numpy_helper.to_array(tensor)
    assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
    assert lazy.load().tobytes() == expected.tobytes()
    assert not lazy.load().flags.writeable


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (damaged(raw_data=FLOAT.tobytes()[:-1]), r"'w' holds 23 bytes where its shape \[2, 3\] needs 24"),
        (damaged(dims=[2, 4]), "holds 24 bytes where its shape"),
        (damaged(dims=[-2, -3]), "impossible shape"),
        (damaged(dims=[1 << 40, 1 << 40]), "impossible shape"),
        (damaged(dims=[1 << 39]), "holds 24 bytes where its shape"),
        (damaged(data_type=99), "unknown element type 99"),
        (damaged(data_type=0), "unknown element type 0"),
        (damaged(data_type=TensorProto.STRING), "holds strings as raw bytes"),
        (TensorProto(name="w", dims=[2], data_type=1, float_data=[1.0]), "holds 1 values where its shape"),
        (TensorProto(name="w", dims=[2], data_type=1, float_data=[1.0] * 3), "holds 3 values where its shape"),
        (TensorProto(name="w", dims=[1 << 30], data_type=1), "holds 0 values where its shape"),
        (TensorProto(name="w", dims=[2], data_type=1, int32_data=[1, 2]), "holds 0 values where its shape"),
        (TensorProto(name="w", dims=[4], data_type=TensorProto.INT4, int32_data=[1, 2, 3, 4]), "holds 4 values"),
        (TensorProto(name="w", dims=[2], data_type=TensorProto.COMPLEX64, float_data=[1, 2]), "holds 2 values"),
        (TensorProto(name="w", dims=[2], data_type=TensorProto.STRING, string_data=[b"a"]), "holds 1 values"),
    ],
)
def test_a_damaged_tensor_is_refused(tensor, message):
    with pytest.raises(ModelError, match=message):
        LazyTensor(tensor)


@pytest.mark.parametrize("indices", [[2, 11], [[0, 2], [2, 3]]])
def test_a_sparse_tensor_is_read_as_a_dense_array(indices):
    expected = np.zeros((3, 4), np.float32)
    expected[0, 2], expected[2, 3] = 1, 2
    lazy = LazyTensor(sparse("w", [3, 4], [1.0, 2.0], indices))
    assert lazy.is_sparse
    assert np.array_equal(lazy.load(), expected)


def test_an_empty_sparse_tensor_is_all_zero():
    tensor = sparse("w", [3], [], [])
    tensor.indices.CopyFrom(numpy_helper.from_array(np.zeros(0, np.int64)))
    assert LazyTensor(tensor).load().tolist() == [0, 0, 0]


def _other_index_type(tensor: onnx.SparseTensorProto) -> onnx.SparseTensorProto:
    tensor.indices.CopyFrom(numpy_helper.from_array(np.array([2, 11], np.int32)))
    return tensor


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (sparse("w", [3, 4], [1.0, 2.0], [2, 12]), "indices do not fit"),
        (sparse("w", [3, 4], [1.0, 2.0], [-1, 2]), "indices do not fit"),
        (sparse("w", [3, 4], [1.0, 2.0], [[0, 2], [3, 3]]), "indices do not fit"),
        (sparse("w", [3, 4], [1.0, 2.0], [[0], [1]]), "indices do not fit"),
        (sparse("w", [3, 4], [1.0, 2.0], [1]), "indices do not fit"),
        (sparse("w", [1 << 20, 1 << 16], [1.0], [0]), "too large as a dense array"),
        (sparse("w", [1 << 40, 1 << 40], [1.0], [0]), "impossible shape"),
        (_other_index_type(sparse("w", [3, 4], [1.0, 2.0], [2, 11])), "must be int64"),
    ],
)
def test_a_damaged_sparse_tensor_is_refused(tensor, message):
    with pytest.raises(ModelError, match=message):
        LazyTensor(tensor)


@pytest.mark.parametrize(
    ("element", "shape", "expected"),
    [
        (TensorProto.FLOAT, (2, 3), 24),
        (TensorProto.FLOAT, (), 4),
        (TensorProto.FLOAT, (0, 5), 0),
        (TensorProto.BFLOAT16, (3,), 6),
        (TensorProto.FLOAT8E4M3FN, (3,), 3),
        (TensorProto.INT4, (3,), 2),
        (TensorProto.UINT4, (4,), 2),
        (TensorProto.FLOAT4E2M1, (1,), 1),
        (TensorProto.BOOL, (9,), 9),
    ],
)
def test_sizes_are_those_of_the_file(element, shape, expected):
    dtype = helper.tensor_dtype_to_np_dtype(element)
    assert size_in_bytes(shape, dtype) == expected
    assert len(numpy_helper.from_array(np.zeros(shape, dtype)).raw_data) == expected
