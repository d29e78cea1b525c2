from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.simplify._analysis.affine import Affine, normalizes, scales_and_shifts
from onnx_compress.passes.simplify._analysis.facts import Facts
from tests.behaviour import feeds_for, run

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def node_of(text: str):
    model = from_text(HEAD + text)
    return model, model.graph.nodes[0], Facts(model)


@pytest.mark.parametrize(
    "expression", ["Mul (x, k)", "Mul (k, x)", "Div (x, k)", "Add (x, k)", "Add (k, x)", "Sub (x, k)", "Sub (k, x)"]
)
def test_the_node_computes_scale_times_x_plus_shift(expression):
    model, node, facts = node_of(f"g (float[N,4] x) => (float[N,4] y) <float[4] k> {{ y = {expression} }}")
    affine = scales_and_shifts(node, facts)
    feeds = feeds_for(model)
    assert affine.source.name == "x"
    np.testing.assert_allclose(affine.scale * feeds["x"] + affine.shift, run(model, feeds)[0], rtol=1e-6)


@pytest.mark.parametrize("expression", ["Div (k, x)", "Relu (x)", "Mul (x, x)", "Pow (x, k)"])
def test_other_nodes_are_none(expression):
    _, node, facts = node_of(f"g (float[N,4] x) => (float[N,4] y) <float[4] k> {{ y = {expression} }}")
    assert scales_and_shifts(node, facts) is None


BATCHNORM = """g (float[N,4,3] x) => (float[N,4,3] y) <float[4] a, float[4] b, float[4] m, float[4] v>
{ y = BatchNormalization <epsilon = 0.01> (x, a, b, m, v) }"""


def test_a_normalization_is_a_scale_and_a_shift():
    model, node, facts = node_of(BATCHNORM)
    affine = normalizes(node, facts)
    assert affine.is_channelwise
    feeds = feeds_for(model)
    expected = affine.scale[:, None] * feeds["x"] + affine.shift[:, None]
    np.testing.assert_allclose(expected, run(model, feeds)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("<epsilon = 0.01>", "<training_mode = 1>", "by batch statistics"),
        ("<epsilon = 0.01>", "<spatial = 0>", "per position"),
        ("=> (float[N,4,3] y) <float[4] a,", ", float[4] a) => (float[N,4,3] y) <", "computed at run time"),
    ],
)
def test_other_normalizations_have_a_reason(old, new, why):
    text = BATCHNORM.replace(") " + old if old.startswith("=>") else old, new)
    _, node, facts = node_of(text)
    assert why in normalizes(node, facts)


@pytest.mark.parametrize(
    ("shape", "axis", "fits"),
    [((), 1, True), ((1,), 1, True), ((4, 1), 1, True), ((1, 4, 1), 1, True), ((3,), 1, False), ((4,), 2, True),
     ((1, 1, 4, 1), 1, False), ((4, 3), 1, False), ((4,), 1, False)],
)  # fmt: skip
def test_only_values_per_channel_are_vectors(shape, axis, fits):
    affine = Affine(None, np.full(shape, 2.0), np.zeros(()))
    found = affine.along(axis, 3, 4)
    assert (found is not None) == fits
    assert not fits or found[0].tolist() == [2.0] * 4


def test_channels_of_a_normalization_are_axis_1():
    affine = Affine(None, np.arange(4.0), np.zeros(4), is_channelwise=True)
    assert affine.along(1, 3, 4) is not None
    assert affine.along(2, 3, 4) is None
    assert affine.along(1, 3, 8) is None
