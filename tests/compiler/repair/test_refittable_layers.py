from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.repair import refittable_layers
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, Product, Shift
from tests.compiler.repair.recognized_layers import recognized, values_of


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[N,7] x) => (float[N,5] y) <float[7,5] w, float[1,5] c> "
         "{ y = Gemm <beta = 0.0> (x, w, c) }", "alpha or beta is zero"),
        ("g (float[3,7] x) => (float[3,5] y) <float[7,5] w, float[3,1] c> { y = Gemm (x, w, c) }", "from row to row"),
        ("g (float[7,N] x) => (float[5,N] y) <float[5,7] w> { y = Gemm (w, x) }", "the left operand"),
        ("g (float[N,2,7] x) => (float[N,2,5] y) <float[1,7,5] w> { y = MatMul (x, w) }", "not that of one matrix"),
        ("g (float[3,3] x) => (float[3,3] y) { y = MatMul (x, x) }", "no stored weight"),
        ("g (float[N,2,7] x, float[2,2,1] k) => (float[N,2,l] y) { y = Conv (x, k) }", "no stored weight"),
    ],
    ids=["beta", "rows", "left", "stack", "two", "weight"],
)  # fmt: skip
def test_layers_that_cannot_be_refitted_are_refused_with_a_reason(text, reason):
    found, _, _ = recognized(text)
    assert isinstance(found, str)
    assert reason in found


STORED = """
g (float[N,4,6,6] x) => (float[N,8,4,4] y)
<int8[8,4,3,3] q, float[8,1,1,1] s, float[8] b>
{ f = Cast <to = 1> (q) w = Mul (f, s) y = Conv (x, w, b) }"""


SHARED = """
g (float[N,6] x) => (float[N,6] y) <float[6,6] w, float[6] b>
{ m = MatMul (x, w) a = Add (m, b) y = MatMul (a, w) }"""


@pytest.mark.parametrize("text", [STORED, SHARED], ids=["decoded", "shared"])
def test_weights_that_must_stay_leave_the_bias_free(text):
    layer, arrays, model = recognized(text)
    assert isinstance(layer, Shift)
    assert isinstance(layer, LinearLayer)
    before = arrays[layer.result.name]
    delta = np.linspace(-1, 1, layer.width)
    layer.store(model, layer.weights(), delta[None])
    after = values_of(model)[layer.result.name]
    moved = np.moveaxis(after - before, layer.axis, -1)
    assert np.abs(moved - delta).max() < 1e-6 * np.abs(before).max()


@pytest.mark.parametrize(
    ("text", "kind", "axis"),
    [
        ("g (float[N,4,6,6] x) => (float[N,8,4,4] y) <float[8,4,3,3] w> { y = Conv (x, w) }", Convolution, 1),
        ("g (float[N,6] x) => (float[N,5] y) <float[6,5] w> { y = Gemm (x, w) }", Product, -1),
        (
            "g (float[N,6] x) => (float[N,5] y) <float[6,5] w, float[5] b> { h = MatMul (x, w) y = Add (h, b) }",
            Product,
            -1,
        ),
        ("g (float[N,6,7] x) => (float[N,5,7] y) <float[5,6] w> { y = MatMul (w, x) }", Product, -2),
    ],
    ids=["conv", "gemm", "with a bias", "from the left"],
)
def test_layers_are_recognized(text, kind, axis):
    layer, _, _ = recognized(text)
    assert isinstance(layer, kind)
    assert (layer.axis, layer.result.name) == (axis, "y")


def test_with_too_many_unknowns_only_the_bias_is_free(monkeypatch):
    monkeypatch.setattr(refittable_layers, "MOST_UNKNOWNS", 35)
    text = "g (float[N,4,6,6] x) => (float[N,8,4,4] y) <float[8,4,3,3] w> { y = Conv (x, w) }"
    assert isinstance(recognized(text)[0], Shift)
    monkeypatch.setattr(refittable_layers, "MOST_UNKNOWNS", 36)
    assert isinstance(recognized(text)[0], Convolution)
