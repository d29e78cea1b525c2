from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair.changes import changed_values

MODEL = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,4] x, bool flag) => (float[N,4] y) <float[4,4] a, float[4,4] b, float[4] c>
{
  ["first"] h = MatMul (x, a)
  ["other"] o = MatMul (x, b)
  ["act"] r = LeakyRelu <alpha = 0.1> (h)
  ["choose"] i = If (flag) < then_branch = yes () => (float[N,4] t) { t = Identity (o) },
    else_branch = no () => (float[N,4] e) { e = Neg (o) } >
  ["sum"] s = Add (r, c)
  ["end"] y = Add (s, i)
}"""


def names(model, original):
    return {tensor.name for tensor in changed_values(model, original)}


def node(model, name):
    return next(n for n in model.graph.nodes if n.name == name)


@pytest.fixture
def original():
    return from_text(MODEL)


def test_of_an_equal_model_only_what_has_bodies_may_differ(original):
    assert names(original.clone(), original) == {"i", "y"}
    assert names(from_text(MODEL), original) == {"i", "y"}


def test_another_weight_changes_everything_behind_it(original):
    model = original.clone()
    edit.set_weight(model, node(model, "first"), 1, 2 * node(model, "first").inputs[1].values)
    assert names(model, original) == {"h", "r", "s", "i", "y"}


def test_equal_bits_are_not_a_change(original):
    model = original.clone()
    edit.set_weight(model, node(model, "first"), 1, node(model, "first").inputs[1].values.copy())
    assert names(model, original) == {"i", "y"}


def test_another_attribute_operator_or_wiring_is_a_change(original):
    model = original.clone()
    edit.set_attr(model, node(model, "act"), "alpha", 0.2)
    assert names(model, original) == {"r", "s", "i", "y"}
    model = original.clone()
    edit.retype(model, node(model, "act"), "Relu", node(model, "act").inputs[:])
    assert names(model, original) == {"r", "s", "i", "y"}
    model = original.clone()
    edit.set_input(model, node(model, "act"), 0, node(model, "other").outputs[0])
    assert names(model, original) == {"r", "s", "i", "y"}


def test_a_constant_of_another_type_is_a_change(original):
    model = original.clone()
    edit.set_weight(model, node(model, "sum"), 1, node(model, "sum").inputs[1].values[None])
    assert names(model, original) == {"s", "i", "y"}
    assert node(model, "sum").inputs[1].values.dtype == np.float32
