import time

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from tests.behaviour import feeds_for, run
from tests.pruning import distance, pruned, zeroed

HEAD = '<ir_version: 8, opset_import: ["" : 17, "other" : 1]>\n'


def groups_of(text):
    return ChannelGroups.of(from_text(HEAD + text))


def reasons(groups):
    return [(group.label, group.why_fixed) for group in groups.groups if group.why_fixed]


def test_a_group_names_its_layers():
    groups = groups_of("""g (float[N,3,8,8] x) => (float[N,5,8,8] y) <float[8,3,1,1] a, float[8] b, float[5,8,1,1] c>
    { ["first"] h = Conv (x, a, b) r = Relu (h) ["second"] y = Conv (r, c) }""")
    group = groups.prunable[0]
    assert [node.name for node in group.producers] == ["first"]
    assert [node.name for node in group.consumers] == ["second"]
    assert [(p.node.name, p.slot, p.axis, p.role, n) for p, n in group.places] == [
        ("first", 1, 0, "out", 1), ("first", 2, 0, "shift", 1), ("second", 1, 1, "in", 1)
    ]  # fmt: skip
    assert group.label == "Conv 'first'"
    assert reasons(groups) == [("Conv 'first'", "graph input 'x'"), ("Conv 'second'", "graph output 'y'")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("r = other.Magic (h)", "no rule for Magic"),
        ("r = Softmax <axis=1> (h)", "computes along it"),
        ("r = LRN <size=3> (h)", "neighbouring channels"),
        ("s = Slice (h, zero, eight, one, two) r = Concat <axis=1> (s, s)", "slices it with step 2"),
        ("s = QuantizeLinear (h, scale, zp) r = DequantizeLinear (s, scale, zp)", "already quantized"),
        ("r = CumSum (h, axis)", "computes along it"),
    ],
)
def test_an_axis_that_can_not_be_pruned_has_a_reason(body, reason):
    groups = groups_of("""g (float[N,3,8,8] x) => (float[N,5,8,8] y)
    <float[8,3,1,1] a, float[5,8,1,1] c, float scale, int8 zp, int64[1] zero = {0}, int64[1] eight = {8},
     int64[1] one = {1}, int64[1] two = {2}, int64 axis = {1}>
    { h = Conv (x, a) """ + body + " y = Conv (r, c) }")  # fmt: skip
    assert not groups.prunable
    assert any(reason in why for _, why in reasons(groups))


def test_layer_normalization_couples_its_channels():
    groups = groups_of("""g (float[N,5,6] x) => (float[N,5,4] y)
    <float[6,8] a, float[8] s, float[8] b, float[8,4] c>
    { h = MatMul (x, a) n = LayerNormalization (h, s, b) y = MatMul (n, c) }""")
    (group,) = groups.prunable
    assert "normalizes over it" in group.why_coupled


GROUPED = """g (float[N,3,8,8] x) => (float[N,5,8,8] y)
<float[16,3,1,1] a, float[16,{inside},3,3] b, float[5,16,1,1] c>
{{ h = Conv (x, a) ["grouped"] k = Conv <group={groups}, pads=[1,1,1,1]> (h, b) y = Conv (k, c) }}"""


@pytest.mark.parametrize(("groups", "sizes"), [(8, [8]), (4, [4, 4]), (2, [8, 8])])
def test_a_grouped_convolution_loses_groups_or_members_of_every_group(groups, sizes):
    model = from_text(HEAD + GROUPED.format(groups=groups, inside=16 // groups))
    found = ChannelGroups.of(model)
    assert [group.size for group in found.prunable] == sizes
    result = pruned(model)
    node = next(node for node in result.nodes() if node.name == "grouped")
    assert node.attrs["group"] == (groups // 2 if len(sizes) == 1 else groups)
    feeds = feeds_for(model)
    assert distance(run(zeroed(model), feeds), run(result, feeds)) < 1e-6


def test_both_cuts_are_offered():
    model = from_text(HEAD + GROUPED.format(groups=4, inside=4))
    node = next(node for node in model.nodes() if node.name == "grouped")
    assert [g.size for g in ChannelGroups.with_cuts(model, {node: 0}).prunable] == [4]
    assert [g.size for g in ChannelGroups.with_cuts(model, {node: 1}).prunable] == [4, 4]


TIED = """g (float[N,8] x) => (float[N,4] y)
<float[8,16] a, float[16,16] w, float[16] b, float[16,4] c>
{ h = MatMul (x, a) i = MatMul (h, w) j = Add (i, b) r = Relu (j) k = MatMul (r, w) l = Add (k, b)
  y = MatMul (l, c) }"""


def test_a_matrix_used_twice_stays_tied():
    model = from_text(HEAD + TIED)
    assert [group.size for group in ChannelGroups.of(model).prunable] == [16]
    result = pruned(model)
    assert {c.name: c.stored.shape for c in result.constants()} == {"a": (8, 8), "w": (8, 8), "b": (8,), "c": (8, 4)}


def test_a_vector_that_two_layers_share_is_copied_where_they_differ():
    model = from_text(
        HEAD
        + """g (float[N,8] x) => (float[N,4] y)
    <float[8,16] a, float[16] b, float[16,16] w, float[16,4] c>
    { h = MatMul (x, a) i = Add (h, b) r = Relu (i) k = MatMul (r, w) l = Add (k, b) y = MatMul (l, c) }"""
    )
    groups = ChannelGroups.of(model)
    assert [group.size for group in groups.prunable] == [16, 16]
    feeds = feeds_for(model)
    assert distance(run(zeroed(model), feeds), run(pruned(model), feeds)) < 1e-6


COMPUTED = """g (float[N,3,4,4] x) => (float[N,4,4,4] y)
<float[12,3,1,1] a, int64 i0 = {0}, int64 i1 = {1}, int64 three = {3}, int64[1] at = {0}, int64[1] four = {4},
 int64[1] g = {3}, float[4,12,1,1] b>
{
  h = Conv (x, a)
  s = Shape (h)
  n0 = Gather (s, i0) c0 = Gather (s, i1) d0 = Div (c0, three)
  n = Unsqueeze (n0, at) c = Unsqueeze (c0, at) d = Unsqueeze (d0, at)
  apart = Concat <axis=0> (n, g, d, four, four)
  flat = Concat <axis=0> (n, c, four, four)
  p = Reshape (h, apart)
  q = Transpose <perm=[0,2,1,3,4]> (p)
  r = Reshape (q, flat)
  cf = Cast <to=1> (c0)
  root = Sqrt (cf)
  t = Div (r, root)
  y = Conv (t, b)
}"""


def test_computed_shapes_are_followed_and_numbers_derived_from_them_kept():
    model = from_text(HEAD + COMPUTED)
    assert [group.size for group in ChannelGroups.of(model).prunable] == [4]
    feeds = feeds_for(model)
    assert distance(run(zeroed(model), feeds), run(pruned(model), feeds)) < 1e-6


BODY = """g (bool c, float[N,8] x) => (float[N,4] y)
<float[8,16] a, float[16,16] w, float[16,4] b, float[16,8] d, float[8,4] e>
{
  h = MatMul (x, a)
  r = Relu (h)
  k = MatMul (r, w)
  y = If (c) <
    then_branch = then () => (float[N,4] p) { p = MatMul (k, b) },
    else_branch = other () => (float[N,4] q) { u = MatMul (k, d) v = Relu (u) q = MatMul (v, e) }
  >
}"""


def test_bodies_are_pruned_inside_and_across_their_borders():
    model = from_text(HEAD + BODY)
    groups = ChannelGroups.of(model)
    assert sorted(group.size for group in groups.prunable) == [8, 16, 16]
    result = pruned(model)
    onnx.checker.check_model(result.proto(), full_check=True)
    for c in (True, False):
        feeds = feeds_for(model) | {"c": np.array(c)}
        assert distance(run(zeroed(model), feeds), run(result, feeds)) < 1e-6


def test_weights_behind_identity_constant_and_casts_are_seen():
    model = from_text(
        HEAD
        + """g (float[N,4] x) => (float[N,4] y) <float[4,8] a, int8[8,4] q, float[4] s>
    { i = Identity (a) h = MatMul (x, i) r = Relu (h) f = Cast <to=1> (q) w = Mul (f, s) y = MatMul (r, w) }"""
    )
    assert [group.size for group in ChannelGroups.of(model).prunable] == [8]
    feeds = feeds_for(model)
    assert distance(run(zeroed(model), feeds), run(pruned(model), feeds)) < 1e-6


@pytest.mark.slow
def test_a_large_graph_takes_seconds():
    """A thousand residual blocks of four nodes, 256 channels wide."""
    nodes = []
    shared = np.zeros((256, 256, 1, 1), np.float32)
    constants = [onnx.numpy_helper.from_array(np.zeros((256, 3, 1, 1), np.float32), "stem")]
    nodes.append(onnx.helper.make_node("Conv", ["x", "stem"], ["h0"]))
    for i in range(1000):
        constants += [
            onnx.numpy_helper.from_array(shared[:, :8], f"a{i}"),
            onnx.numpy_helper.from_array(shared[:8], f"b{i}"),
        ]
        nodes += [
            onnx.helper.make_node("Conv", [f"h{i}", f"b{i}"], [f"p{i}"]),
            onnx.helper.make_node("Relu", [f"p{i}"], [f"q{i}"]),
            onnx.helper.make_node("Conv", [f"q{i}", f"a{i}"], [f"r{i}"]),
            onnx.helper.make_node("Add", [f"r{i}", f"h{i}"], [f"h{i + 1}"]),
        ]
    nodes.append(onnx.helper.make_node("GlobalAveragePool", ["h1000"], ["y"]))
    inputs = [onnx.helper.make_tensor_value_info("x", 1, ["N", 3, 8, 8])]
    outputs = [onnx.helper.make_tensor_value_info("y", 1, None)]
    graph = onnx.helper.make_graph(nodes, "large", inputs, outputs, constants)
    model = Model.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]))
    started = time.process_time()
    groups = ChannelGroups.of(model)
    assert len(groups.prunable) == 1000
    assert time.process_time() - started < 15


def test_a_weight_that_callers_may_override_is_fixed():
    model = from_text(HEAD + TIED)
    weight = next(c for c in model.constants() if c.name == "w")
    model.graph.inputs.append(weight)
    groups = ChannelGroups.of(model)
    assert not groups.prunable
    assert "it is the default of input 'w'" in [why for _, why in reasons(groups)]


def test_a_weight_read_in_two_bodies_and_outside_stays_in_reach_of_all():
    model = from_text(
        HEAD
        + """g (bool c, float[N,8] x) => (float[N,4] y, float[N,4] z)
    <float[8,16] a, float[16,4] b>
    {
      y = If (c) <
        then_branch = then () => (float[N,4] p) { h = MatMul (x, a) r = Relu (h) p = MatMul (r, b) },
        else_branch = other () => (float[N,4] q) { i = MatMul (x, a) s = Tanh (i) q = MatMul (s, b) }
      >
      k = MatMul (x, a)
      t = Sigmoid (k)
      z = MatMul (t, b)
    }"""
    )
    assert [group.size for group in ChannelGroups.of(model).prunable] == [16]
    result = pruned(model)
    assert {c.name: c.stored.shape for c in result.constants()} == {"a": (8, 8), "b": (8, 4)}
    feeds = feeds_for(model) | {"c": np.array(True)}
    assert distance(run(zeroed(model), feeds), run(result, feeds)) < 1e-6
