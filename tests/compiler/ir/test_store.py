from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.store import store_as, store_dense, store_sparse
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.forms import choice
from onnx_compress.compiler.storage.weight import WeightValues
from tests.behaviour import run

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,64] x) => (float[N,64] y) <float[64,64] w> { y = MatMul (x, w) }"""
FEEDS = {"x": np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)}


def prepared(negative_zeros=False):
    """The model, its weight of few values, and the program that stores these."""
    model = from_text(TEXT)
    constant = next(model.constants())
    values = np.random.default_rng(0).choice(np.float32([0, 0, 0, 0.5, 2]), (64, 64))
    edit.replace_values(model, constant, np.where(values == 0, np.float32(-0.0), values) if negative_zeros else values)
    return model, constant, choice.cheapest(WeightValues(values), "w", "w", 21)


def test_a_program_stores_the_weight_and_the_model_computes_the_same():
    model, constant, program = prepared()
    expected, dense = run(model, FEEDS), model.file_bytes()
    version = model.version
    store_as(model, {program.outputs[0]: constant}, program)
    assert isinstance(constant.stored, EncodedTensor)
    assert model.version > version
    assert model.file_bytes() < dense / 8
    np.testing.assert_array_equal(run(model, FEEDS), expected)
    store_dense(model, constant)
    assert isinstance(constant.stored, np.ndarray)
    assert model.file_bytes() == dense


def test_a_program_of_other_values_is_refused():
    model, constant, program = prepared()
    changed = constant.values.copy()
    changed[3, 5] += 1e-3
    edit.replace_values(model, constant, changed)
    with pytest.raises(ValueError, match=f"'w' can't be stored as {program.form}: it would have other values"):
        store_as(model, {program.outputs[0]: constant}, program)
    assert isinstance(constant.stored, np.ndarray)


def test_the_sign_of_zeros_may_be_lost():
    model, constant, program = prepared(negative_zeros=True)
    store_as(model, {program.outputs[0]: constant}, program)
    assert not np.signbit(constant.values).any()


def sparse_tensor(values):
    flat = np.flatnonzero(values)
    return onnx.helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(values.ravel()[flat], "w"),
        onnx.numpy_helper.from_array(flat.astype(np.int64), "w_indices"),
        list(values.shape),
    )


def test_sparse_initializers():
    model, constant, _ = prepared()
    values = np.array(constant.values)
    store_sparse(model, constant, sparse_tensor(values))
    (written,) = model.proto().graph.sparse_initializer
    assert written.values.dims[0] == np.count_nonzero(values)
    np.testing.assert_array_equal(constant.values, values)
    values[0, 0] += 1
    with pytest.raises(ValueError, match="'w' can't be stored as sparse"):
        store_sparse(model, constant, sparse_tensor(values))
