from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.files.merge import merge_equal
from tests.behaviour import distance, run
from tests.compiler.ir.graphs import is_whole, load

TEXT = """g (float[N,4] x, bool flag) => (float[N,4] y) <float[4,4] a, float[4,4] b, float[4,4] c, float[16] flat>
{
  ["one"] h = MatMul (x, a)
  ["two"] i = MatMul (h, b)
  ["choose"] k = If (flag) <
    then_branch = yes () => (float[N,4] t) <float[4,4] inner> { ["in"] t = MatMul (i, inner) },
    else_branch = no () => (float[N,4] e) <float[4,4] other> { ["out"] e = MatMul (i, other) }
  >
  ["three"] l = MatMul (k, c)
  ["sum"] s = ReduceSum <keepdims = 0> (flat)
  ["last"] y = Add (l, s)
}"""
FEEDS = {"x": np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32), "flag": np.array(True)}


def equal(model, *names):
    """Give the weights `names` the same values."""
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    for constant in list(model.constants()):
        if constant.name in names:
            edit.replace_values(model, constant, values.reshape(constant.values.shape).copy())


def names(model):
    return sorted(constant.name for constant in model.constants())


def merged(*alike):
    model = load(TEXT)
    equal(model, *alike)
    expected = run(model, FEEDS)
    count = merge_equal(model)
    assert is_whole(model)
    assert distance(expected, run(model, FEEDS)) == 0
    return model, count


def test_equal_weights_become_the_first_of_them():
    model, count = merged("a", "c")
    assert count == 1
    assert names(model) == ["a", "b", "flat", "inner", "other"]


def test_a_body_reads_what_the_graph_around_it_has():
    model, count = merged("b", "inner", "other")
    assert count == 2
    assert names(model) == ["a", "b", "c", "flat"]


def test_sibling_bodies_share_nothing():
    model, count = merged("inner", "other")
    assert count == 0
    assert names(model) == ["a", "b", "c", "flat", "inner", "other"]


def test_other_shapes_types_and_bits_stay_apart():
    model, count = merged("a", "flat")
    assert count == 0
    model = load(TEXT)
    zeros = np.zeros((4, 4), np.float32)
    by_name = {constant.name: constant for constant in model.constants()}
    edit.replace_values(model, by_name["a"], zeros)
    edit.replace_values(model, by_name["c"], -zeros)
    assert merge_equal(model) == 0, "-0.0 has other bits than 0.0"


def test_an_output_keeps_its_own():
    model = load("g (float[N,4] x) => (float[N,4] y, float[4,4] w) <float[4,4] v, float[4,4] w> { y = MatMul (x, v) }")
    equal(model, "v", "w")
    assert merge_equal(model) == 0


def test_an_annotated_weight_keeps_its_own():
    model = load(TEXT)
    equal(model, "a", "b", "c")
    annotation = model.graph.header.quantization_annotation.add(tensor_name="b")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="flat")
    assert merge_equal(model) == 1
    assert names(model) == ["a", "b", "flat", "inner", "other"]
