"""Lossless Casts: every claim is checked on the extremes of both types."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from onnx_compress.passes.simplify._rules.merge_chains import loses_nothing

INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
FLOATS = ("FLOAT16", "BFLOAT16", "FLOAT", "DOUBLE")
TYPES = [getattr(TensorProto, name) for name in (*INTEGERS, *FLOATS, "BOOL")]


def extremes(kind):
    dtype = np.dtype(tensor_dtype_to_np_dtype(kind))
    if dtype.kind == "b":
        return np.asarray([False, True])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        near = [limits.min, limits.min + 1, 0, 1, limits.max // 2 + 1, limits.max - 1, limits.max]
        return np.asarray(near, dtype)
    limits = ml_dtypes.finfo(dtype)
    return np.asarray([limits.min, -1.0, 0.0, limits.tiny, 1.0, 1.0 + float(limits.eps), limits.max, np.inf], dtype)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(TYPES, TYPES)))
@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
def test_a_cast_is_lossless_exactly_if_it_can_be_inverted(source, target):
    values = extremes(source)
    there = values.astype(tensor_dtype_to_np_dtype(target))
    can_be_undone = bool((there.astype(np.float64) == values.astype(np.float64)).all()) and bool(
        (there.astype(values.dtype) == values).all()
    )
    assert not loses_nothing(source, target) or can_be_undone
    if TensorProto.BOOL not in (source, target):
        assert loses_nothing(source, target) == can_be_undone


def test_other_types_are_not_judged():
    assert not loses_nothing(TensorProto.STRING, TensorProto.FLOAT)
    assert not loses_nothing(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT)
