"""Loading and saving keeps every field."""

from __future__ import annotations

import time

import onnx
import pytest
from onnx import TensorProto, helper

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from tests.behaviour import distance, feeds_for, run
from tests.compiler.ir.everything import ELSEWHERE, everything, unset_fields


def same(a: onnx.ModelProto, b: onnx.ModelProto) -> bool:
    return a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def test_the_model_sets_every_field():
    assert unset_fields(everything()) == set(ELSEWHERE)


def test_an_unchanged_model_comes_back_unchanged():
    assert same(Model.from_proto(everything()).proto(), everything())


def test_through_a_file(tmp_path):
    onnx.save(everything(), tmp_path / "a.onnx")
    Model.load(tmp_path / "a.onnx").save(tmp_path / "b.onnx")
    assert (tmp_path / "b.onnx").read_bytes() == everything().SerializeToString(deterministic=True)


def test_a_clone_comes_back_unchanged():
    assert same(Model.from_proto(everything()).clone().clone().proto(), everything())


def test_reading_every_weight_changes_nothing():
    model = Model.from_proto(everything())
    for constant in model.constants():
        assert constant.values.shape == constant.shape
    assert same(model.proto(), everything())


BODIES = {
    "loop": """g (float[N,4] x) => (float[N,4] y, float[K,N,4] steps) <int64 trips = {3}, bool go = {1}, float[4,4] w>
    { y, steps = Loop (trips, go, x) <body = step (int64 i, bool c, carried) => (c2, next, out) <float[4] b>
        { c2 = Identity (c) m = MatMul (carried, w) next = Add (m, b) out = Mul (next, x) }> }""",
    "scan": """g (float[N,4] x) => (float[4] total, float[N,4] y) <float[4] zero, float[4] w>
    { total, y = Scan <num_scan_inputs = 1, body = step (float[4] sum, float[4] row) => (float[4] next, float[4] out)
        { p = Mul (row, w) next = Add (sum, p) out = Identity (next) }> (zero, x) }""",
    "loop in if": """g (float[N,4] x, bool f) => (float[N,4] y) <int64 trips = {2}, bool go = {1}, float[4] w>
    { y = If (f) <then_branch = t () => (a) { a = Loop (trips, go, x) <body = s (int64 i, bool c, v) => (c2, n)
        { c2 = Identity (c) k = Mul (v, w) n = Add (k, x) }> }, else_branch = e () => (b) { b = Neg (x) }> }""",
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_read_around_them_compute_the_same(name):
    model = from_text(f'<ir_version: 10, opset_import: ["" : 21]> {BODIES[name]}')
    again = Model.from_proto(model.proto())
    assert same(again.proto(), model.clone().proto())
    feeds = feeds_for(model)
    assert distance(run(model, feeds), run(again, feeds)) == 0


def test_thousands_of_nodes_take_no_time():
    nodes = [helper.make_node("Neg" if i % 2 else "Identity", [f"h{i}"], [f"h{i + 1}"]) for i in range(4000)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("h0", "h4000")]
    proto = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]))
    started = time.process_time()
    model = Model.from_proto(proto).clone()
    assert sum(edit.bypass(model, node) for node in model.nodes() if node.op == "Identity") == 2000
    assert len(model.proto().graph.node) == 2000
    assert time.process_time() - started < 4, "measured 0.3 s; what is quadratic takes a minute"
