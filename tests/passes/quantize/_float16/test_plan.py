from __future__ import annotations

import numpy as np
import onnx

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._float16.plan import HalfPlan
from tests.behaviour import feeds_for, run

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,8] x) => (float[N,4] y) <float[8,8] a, float[8,4] b>
{ ["one"] h = MatMul (x, a) r = Relu (h) ["two"] y = MatMul (r, b) }"""


def planned(context, text=TEXT, change=lambda model: None, **options):
    model = from_text(text)
    change(model)
    ctx = context(model, **options)
    return model, HalfPlan(model, ctx), ctx


def test_every_node_that_may_computes_in_half(context):
    model, plan, _ = planned(context)
    assert plan.halved == list(model.graph.nodes)


def test_types_outside_stay(context):
    model, plan, _ = planned(context)
    feeds = feeds_for(model)
    before = run(model, feeds)
    plan.apply()
    onnx.checker.check_model(model.proto(), full_check=True)
    assert {constant.stored.dtype for constant in model.constants()} == {np.dtype(np.float16)}
    after = run(model, feeds)
    assert [array.dtype for array in after] == [np.float32]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-2, atol=1e-2)


def test_between_nodes_of_one_type_there_is_no_cast(context):
    model, plan, _ = planned(context)
    plan.apply()
    assert [node.op for node in model.graph.nodes].count("Cast") == 2, "the input and the output"


def test_excluded_nodes_stay_float32(context):
    model, plan, ctx = planned(context, exclude=("two",))
    assert [node.name for node in plan.halved] == ["one", ""]
    assert ctx.skips == [] or all("excluded" in skip.why for skip in ctx.skips)
    plan.apply()
    two = next(node for node in model.graph.nodes if node.name == "two")
    assert two.inputs[1].stored.dtype == np.float32


def test_values_beyond_the_range_are_named(context):
    def scaled(model):
        node = model.graph.nodes[0]
        edit.set_weight(model, node, 1, np.asarray(node.inputs[1].values * np.float32(1e6)))

    _, plan, ctx = planned(context, change=scaled)
    assert "one" not in [node.name for node in plan.halved]
    assert any("'a' holds" in skip.why and "65504" in skip.why for skip in ctx.skips)


def test_bodies_stay_float32(context):
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[N,8] x, bool c) => (float[N,8] y) { h = Relu (x) ["choice"] y = If (c) <
        then_branch = t () => (float[N,8] p) { p = Neg (h) }, else_branch = e () => (float[N,8] q) { q = Abs (h) }> }"""
    _, plan, ctx = planned(context, text)
    assert [node.op for node in plan.halved] == ["Relu"]
    assert any("its bodies are not converted" in skip.why for skip in ctx.skips)
