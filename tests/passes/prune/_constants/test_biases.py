from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.contractions import contractions
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune._constants.biases import add, obstacle
from tests.behaviour import feeds_for, run

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
LAYERS = {
    "conv": "g (float[2,4,5,5] x) => (float[2,6,3,3] y) <float[6,4,3,3] w, float[6] b> { y = Conv (x, w, b) }",
    "conv without a bias": "g (float[2,4,5,5] x) => (float[2,6,3,3] y) <float[6,4,3,3] w> { y = Conv (x, w) }",
    "gemm": "g (float[2,4] x) => (float[2,6] y) <float[4,6] w, float[6] b> { y = Gemm <beta=0.5> (x, w, b) }",
    "gemm without a bias": "g (float[2,4] x) => (float[2,6] y) <float[4,6] w> { y = Gemm (x, w) }",
    "matmul": "g (float[2,4] x) => (float[2,6] y) <float[4,6] w> { y = MatMul (x, w) }",
    "matmul and bias": """g (float[2,4] x) => (float[2,6] y) <float[4,6] w, float[6] b>
        { m = MatMul (x, w) y = Add (b, m) }""",
}


def layer_of(text):
    model = from_text(HEAD + text)
    return model, contractions(model, ChannelGroups.of(model).walk)[0]


@pytest.mark.parametrize("name", LAYERS)
def test_the_shift_is_added_to_the_results(name):
    model, layer = layer_of(LAYERS[name])
    assert obstacle(layer) is None
    feeds, shift = feeds_for(model), np.arange(6.0)
    (before,) = run(model, feeds)
    add(model, layer, shift)
    (after,) = run(model, feeds)
    expected = before + shift.reshape([6 if axis == 1 else 1 for axis in range(before.ndim)])
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-5)
    assert model.outputs()[0].name == "y"


def test_a_bias_that_is_there_takes_it():
    model, layer = layer_of(LAYERS["matmul and bias"])
    add(model, layer, np.ones(6))
    assert [node.op for node in model.graph.nodes] == ["MatMul", "Add"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("g (float[2,4,5,5] x) => (float[2,6,5,5] y) <float[6,4,3,3] w> { y = Conv <pads=[1,1,1,1]> (x, w) }", "zero"),
        ("g (float[2,4] x) => (float[2,6] y) <float[4,6] w, float[6] b> { y = Gemm <beta=0.0> (x, w, b) }", "by 0"),
        ("g (float[2,4] x, float[6] b) => (float[2,6] y) <float[4,6] w> { y = Gemm (x, w, b) }", "computed"),
        ("g (float[2,4] x) => (float[2,6] y) <float[4,6] w, float[2,1] b> { y = Gemm (x, w, b) }", "vector"),
        ("g (float[4,2] x) => (float[6,2] y) <float[6,4] w> { y = MatMul (w, x) }", "not a bias"),
        ("g (float[2,4,5] x) => (float[2,6,7] y) <float[4,6,3] w> { y = ConvTranspose (x, w) }", "not a bias"),
    ],
)
def test_layers_that_can_not_take_it_have_a_reason(text, why):
    assert why in obstacle(layer_of(text)[1])
