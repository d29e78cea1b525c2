from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.simplify._analysis.affine import Affine
from onnx_compress.passes.simplify._analysis.affine_plans import PLANS
from onnx_compress.passes.simplify._analysis.facts import Facts
from tests.behaviour import feeds_for, run

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
LAYERS = {
    "conv": """g (float[2,4,5,5] x) => (float[2,6,3,3] y) <float[6,2,3,3] w, float[6] b>
        { y = Conv <group=2> (x, w, b) }""",
    "transposed": """g (float[2,4,5] x) => (float[2,6,6] y) <float[4,3,2] w, float[6] b>
        { y = ConvTranspose <group=2> (x, w, b) }""",
    "gemm": """g (float[2,4] x) => (float[2,6] y) <float[6,4] w, float[6] b>
        { y = Gemm <transB=1, alpha=0.5> (x, w, b) }""",
    "matmul": "g (float[2,3,4] x) => (float[2,3,6] y) <float[4,6] w> { y = MatMul (x, w) }",
    "matmul and bias": """g (float[2,4] x) => (float[2,6] y) <float[4,6] w, float[6] b>
        { m = MatMul (x, w) y = Add (m, b) }""",
    "normalization": """g (float[2,6,4] x) => (float[2,6,4] y) <float[6] w, float[6] b, float[6] m, float[6] v>
        { y = BatchNormalization (x, w, b, m, v) }""",
}


def planned(text: str, affine: Affine):
    model = from_text(HEAD + text)
    last = model.graph.nodes[-1]
    return model, PLANS[last.op](last, Facts(model), affine)


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_with_its_factors_computes_what_scale_and_shift_made_of_it(name):
    rng = np.random.default_rng(0)
    scale, shift = rng.uniform(0.5, 2, 6), rng.standard_normal(6) * (name != "matmul")
    original = from_text(HEAD + LAYERS[name])
    feeds = feeds_for(original)
    (before,) = run(original, feeds)
    axis = before.ndim - 1 if name.startswith("matmul") else 1
    shape = [1] * before.ndim
    shape[axis] = 6
    vectors = scale.reshape(shape), shift.reshape(shape)
    model, plan = planned(LAYERS[name], Affine(original.inputs()[0], *vectors))
    for factor in plan:
        old = factor.node.inputs[factor.slot].values
        edit.set_weight(model, factor.node, factor.slot, (factor.scale * old + factor.shift).astype(old.dtype))
    np.testing.assert_allclose(run(model, feeds)[0], before * vectors[0] + vectors[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "scale", "shift", "why"),
    [
        (LAYERS["matmul"], np.ones(6), np.ones(6), "MatMul has no bias"),
        (LAYERS["conv"], np.ones((3, 3)), np.zeros(()), "varies along other axes"),
        ("g (float[2,4,5,5] x, float[6,4,3,3] w) => (float[2,6,3,3] y) { y = Conv (x, w) }", np.ones(()), np.zeros(()),
         "not a plain constant"),
        ("g (float[2,6] x) => (float[2,6] y) <float[6] b> { r = Relu (x) y = Add (r, b) }", np.ones(6), np.zeros(()),
         "not MatMul plus a bias"),
        ("g (float[2,4] x) => (float[2,6] y, float[2,6] m) <float[4,6] w, float[6] b>"
         "{ m = MatMul (x, w) y = Add (m, b) }",
         np.ones(6), np.zeros(()), "also needed elsewhere"),
        ("g (float[2,4] x) => (float[2,6] y) <float[4,6] w, float[2,6] b> { m = MatMul (x, w) y = Add (m, b) }",
         np.ones(6), np.zeros(()), "does not add a bias per channel"),
    ],
)  # fmt: skip
def test_layers_that_can_not_take_it_have_a_reason(text, scale, shift, why):
    _, plan = planned(text, Affine(None, scale, shift))
    assert why in plan
