from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from tests.compiler.repair.repaired_models import (
    CHAINS,
    distance,
    parsed,
    repaired,
    set_weight,
)

RESIDUAL = """
g (float[N,6,4,4] x) => (float[N,6,4,4] y) <float[6,6,1,1] a, float[6,6,1,1] b>
{ ["a"] r = Conv (x, a) ["b"] h = Conv (r, b) y = Add (h, r) }"""


TWO_BRANCHES = """
g (float[N,6,4,4] x) => (float[N,6,4,4] y) <float[6,6,1,1] a, float[6,6,1,1] b, float[6,6,1,1] c>
{ ["b"] h = Conv (x, b) ["c"] r = Conv (x, c) y = Add (h, r) }"""


LATE_SHORTCUT = """
g (float[N,6,4,4] x) => (float[N,6,4,4] y) <float[6,6,1,1] a, float[6,6,1,1] b>
{ ["a"] r = Conv (x, a) ["b"] h = Conv (r, b) n = Neg (r) s = Neg (n) y = Add (h, s) }"""


@pytest.mark.parametrize("text", [RESIDUAL, LATE_SHORTCUT], ids=["before", "behind"])
def test_the_last_layer_of_a_branch_corrects_the_shortcut(text):
    """With a changed shortcut the sum can still be exact, because the branch reads the same values."""
    original = parsed(text)
    model = original.clone()
    set_weight(model, "a", lambda values: values + 0.2 * np.roll(values, 1, 0))
    repaired(model, original, layers=lambda n: n.name == "b")
    assert distance(original, model) < 1e-5


def test_of_two_branches_the_last_takes_the_rest():
    original = parsed(TWO_BRANCHES)
    model = original.clone()
    set_weight(model, "b", np.flip)
    report = repaired(model, original, layers=lambda n: n.name == "c")
    assert [layer.name for layer in report.layers] == []  # neither it nor anything in front of it has changed
    set_weight(model, "c", lambda values: 0.5 * values)
    repaired(model, original, layers=lambda n: n.name == "c")
    assert distance(original, model) < 1e-5


BLOCKS = """
g (float[N,6,4,4] x) => (float[N,6,4,4] z) <float[6,6,1,1] a, float[6,6,1,1] b, float[6,6,1,1] c, float[6,6,1,1] d>
{ ["a"] r = Conv (x, a) ["b"] h = Conv (x, b) s = Add (h, r) ["c"] k = Conv (s, c) y = Add (s, k) e = Relu (y)
  ["d"] z = Conv (e, d) }"""


@pytest.mark.parametrize("keep_name", [True, False])
def test_the_layer_in_front_of_a_removed_branch_aims_at_the_present_meaning_of_its_sum(keep_name):
    """s = y = (I + C) s: the layer 'b' can produce that, unless the sum keeps its old meaning."""
    original = parsed(BLOCKS)
    model = original.clone()
    added = next(n for n in model.graph.nodes if n.outputs[0].name == "y")
    added.inputs[1] = added.inputs[0]
    edit.sweep(model)
    assert edit.bypass(model, added, added.inputs[0], keep_name=keep_name)
    report = repaired(model, original)
    assert [layer.name for layer in report.layers if layer.is_changed] == (["b"] if keep_name else ["d"])
    assert bool(distance(original, model) < 1e-5) == keep_name


def test_a_sum_whose_other_term_depends_on_the_layer_is_not_a_target():
    original = parsed("""
g (float[N,6,4,4] x) => (float[N,6,4,4] y) <float[6,6,1,1] a>
{ ["a"] h = Conv (x, a) r = Relu (h) y = Add (h, r) }""")
    model = original.clone()
    set_weight(model, "a", lambda values: 0.5 * values)
    repaired(model, original)
    assert distance(original, model) < 1e-5


def test_a_value_that_the_original_does_not_have_is_not_a_target():
    original = parsed(CHAINS["gemm"])
    model = parsed("""
g (float[N,12] x) => (float[N,6] y) <float[2,12] u, float[8,2] a, float[8] ab, float[6,8] b, float[6] bb>
{ ["u"] m = Gemm <transB = 1> (x, u) ["a"] h = Gemm <transB = 1> (m, a, ab) r = Relu (h)
  ["b"] y = Gemm <transB = 1> (r, b, bb) }""")
    report = repaired(model, original)
    assert report.layers[0].reason == "the original has no value that corresponds to 'm'"
    assert [layer.is_changed for layer in report.layers[:2]] == [False, True]
