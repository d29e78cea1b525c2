"""Random element-wise graphs between Transposes: the number of nodes never grows, and the values stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.simplify.simplify import Simplify
from tests.behaviour import distance, feeds_for, run
from tests.contexts import context

SHAPE = [2, 3, 4, 5]
LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def build(draw):
    """Values of two layouts, SHAPE and channels-last, with element-wise nodes within each layout."""
    layouts = {"x": SHAPE, "z": SHAPE}
    turned = [SHAPE[axis] for axis in LAST]
    nodes, weights = [], []
    for i in range(draw(st.integers(3, 14))):
        out = f"v{i}"
        source = draw(st.sampled_from(list(layouts)))
        op = draw(st.sampled_from(["Transpose", "Transpose", "Neg", "Tanh", "Add", "Mul", "constant"]))
        same = [name for name, layout in layouts.items() if layout == layouts[source]]
        if op == "Transpose":
            is_first = layouts[source] == SHAPE
            nodes.append(helper.make_node(op, [source], [out], perm=LAST if is_first else FIRST))
            layouts[out] = turned if is_first else SHAPE
            continue
        if op == "constant":
            shape = [draw(st.sampled_from([1, dim])) for dim in layouts[source]][draw(st.integers(0, 3)) :]
            values = np.random.default_rng(i).normal(size=shape).astype(np.float32)
            weights.append(numpy_helper.from_array(values, f"k{i}"))
            nodes.append(helper.make_node("Sub", [source, f"k{i}"], [out]))
        elif op in ("Add", "Mul"):
            nodes.append(helper.make_node(op, [source, draw(st.sampled_from(same))], [out]))
        else:
            nodes.append(helper.make_node(op, [source], [out]))
        layouts[out] = layouts[source]
    made = [node.output[0] for node in nodes]
    outputs = sorted({made[-1], draw(st.sampled_from(made))})
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "z")]
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, layouts[name]) for name in outputs]
    graph = helper.make_graph(nodes, "g", infos, outs, weights)
    return Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@given(st.data())
@settings(max_examples=150)
def test_regions_are_rewritten_only_where_it_pays(data):
    model = build(data.draw)
    result = model.clone()
    ctx = context(Simplify(), result, model)
    Simplify().run(result, ctx)
    feeds = feeds_for(model)
    assert distance(run(model, feeds), run(result, feeds)) <= 1e-6
    assert len(list(result.nodes())) <= len(list(model.nodes()))
    again = result.clone()
    assert Simplify().run(again, ctx) == 0


@pytest.mark.parametrize("node", ["Celu (a)", "Where (q, a, k)", "Softplus (a)", "Swish (a)", "Mod <fmod = 1> (a, k)"])
def test_every_element_wise_operator_lets_transposes_through(node):
    text = f"""<ir_version: 10, opset_import: ["" : 24]>
    g (float[2,3,4,5] x) => (float[2,3,4,5] y) <float[1,1,1,3] k, float zero = {{0}}>
    {{ a = Transpose <perm = [0,2,3,1]> (x) q = Greater (a, zero) b = {node} y = Transpose <perm = [0,3,1,2]> (b) }}"""
    model = from_text(text)
    result = model.clone()
    Simplify().run(result, context(Simplify(), result, model))
    assert not [found for found in result.nodes() if found.op == "Transpose"]
    feeds = feeds_for(model)
    assert distance(run(model, feeds), run(result, feeds)) <= 1e-6
