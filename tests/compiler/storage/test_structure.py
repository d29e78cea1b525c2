"""Promises about values are checked bitwise, and dropped when they no longer hold."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.structure import Structure, inferred, unscaled

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,64] x) => (float[N,64] y) <float[64,64] w, float[64] b> { y = Gemm (x, w, b) }"""


def tied(rng, shape=(64, 64), k=8) -> np.ndarray:
    return rng.choice(rng.standard_normal(k), shape).astype(np.float32)


def weight(model):
    return next(c for c in model.constants() if c.name == "w")


def test_a_codebook_is_inferred_for_a_loaded_weight():
    model = from_text(TEXT)
    values = tied(np.random.default_rng(0))
    edit.replace_values(model, weight(model), values)
    assert weight(model).structure is None  # a pass wrote it and promised nothing
    loaded = weight(Model.from_proto(model.proto()))
    assert np.array_equal(loaded.structure.codebook, np.unique(values))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(4096, np.float32),
        np.arange(4096, dtype=np.float32).reshape(64, 64) % 257,
        np.arange(1024, dtype=np.float32).reshape(32, 32) % 65,
        np.zeros((64, 64), np.int8),
    ],
    ids=["a vector", "many values", "too few of each", "integers"],
)
def test_no_codebook_is_inferred(values):
    assert inferred(values) is None


def test_a_structure_is_kept_while_it_holds():
    rng = np.random.default_rng(0)
    model = from_text(TEXT)
    values = tied(rng) * (rng.random((64, 64)) < 0.5)
    edit.replace_values(model, weight(model), values, Structure.tied(values))
    promised = weight(model).structure
    assert promised.support is not None
    assert promised.codebook is not None
    edit.replace_values(model, weight(model), np.where(values == values.max(), 0, values))
    assert weight(model).structure.codebook is not None
    edit.replace_values(model, weight(model), values * np.float32(1.5))
    assert weight(model).structure.codebook is None
    assert np.array_equal(weight(model).structure.mask((64, 64)), values != 0)
    edit.replace_values(model, weight(model), values + 1)
    assert weight(model).structure is None


def test_a_broken_promise_is_not_kept():
    model = from_text(TEXT)
    edit.replace_values(model, weight(model), np.ones((64, 64), np.float32), Structure(period=3))
    assert weight(model).structure is None
    edit.replace_values(model, weight(model), np.ones((64, 64), np.float32), Structure(period=2))
    assert weight(model).structure.period == 2


def test_a_clone_keeps_the_structure():
    model = from_text(TEXT)
    values = tied(np.random.default_rng(0))
    edit.replace_values(model, weight(model), values, Structure.tied(values))
    twin = model.clone()
    assert np.array_equal(weight(twin).structure.codebook, np.unique(values))
    edit.replace_values(twin, weight(twin), values + np.float32(0.1))
    assert weight(model).structure is not None


def test_a_scale_must_hold_bitwise():
    scale = np.array([[0.1], [0.7]], np.float32)
    values = np.array([[1, -2, 3], [4, 5, -6]], np.float32) * scale
    assert np.array_equal(unscaled(values, Structure(scale=scale)), [[1, -2, 3], [4, 5, -6]])
    values[1, 1] = np.nextafter(values[1, 1], np.float32(9))
    assert Structure(scale=scale).true_for(values) is None
