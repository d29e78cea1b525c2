"""Random layers followed by random scales and shifts: the outputs stay, and every possible fold is done."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.ir.model import Model
from onnx_compress.passes.simplify.simplify import Simplify
from tests.behaviour import feeds_for, run
from tests.contexts import context

CHANNELS = 4


def layer(draw, weights):
    """A layer with random attributes: its node, the input's shape, the output's rank and its axis of channels."""
    kind = draw(st.sampled_from(["Conv", "ConvTranspose", "Gemm", "MatMul"]))
    inputs, attributes = ["x", "w"], {}
    if kind in ("Conv", "ConvTranspose"):
        spatial, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2]))
        per_group = 4 if kind == "Conv" else CHANNELS
        shape = [CHANNELS, per_group // groups] if kind == "Conv" else [4, CHANNELS // groups]
        weights["w"] = [*shape, *[draw(st.integers(1, 2))] * spatial]
        attributes["group"] = groups
        given_shape, axis = ["N", 4, *[4] * spatial], 1
    elif kind == "Gemm":
        transposed = draw(st.booleans())
        weights["w"] = [CHANNELS, 6] if transposed else [6, CHANNELS]
        attributes = {"transB": int(transposed), "alpha": 0.5, "beta": draw(st.sampled_from([1.0, 2.0]))}
        given_shape, axis = ["N", 6], 1
    else:
        weights["w"] = [6, CHANNELS]
        given_shape = ["N", *["T"] * draw(st.integers(0, 2)), 6]
        axis = len(given_shape) - 1
    if kind != "MatMul" and draw(st.booleans()):
        weights["b"] = draw(st.sampled_from([[CHANNELS], [1, CHANNELS], [1]])) if kind == "Gemm" else [CHANNELS]
        inputs.append("b")
    return helper.make_node(kind, inputs, ["h"], **attributes), given_shape, len(given_shape), axis


def affine(draw, weights, last, index, rank, axis):
    op, name = draw(st.sampled_from(["Mul", "Add", "Sub", "Div"])), f"k{index}"
    per_channel = [CHANNELS if i == axis else 1 for i in range(rank)]
    weights[name] = draw(st.sampled_from([per_channel, per_channel[axis:], [], [1]]))
    swapped = op != "Div" and draw(st.booleans())
    return helper.make_node(op, [name, last] if swapped else [last, name], [f"a{index}"])


@given(st.data())
@settings(max_examples=120)
def test_layers_take_scales_and_shifts(data):
    weights: dict[str, list[int]] = {}
    node, shape, rank, axis = layer(data.draw, weights)
    nodes, last = [node], "h"
    for index in range(data.draw(st.integers(1, 3))):
        nodes.append(affine(data.draw, weights, last, index, rank, axis))
        last = f"a{index}"
    nodes.append(helper.make_node("Relu", [last], ["y"]))
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array((rng.uniform(0.5, 2, dims) * rng.choice([-1, 1], dims)).astype(np.float32), name)
        for name, dims in weights.items()
    ]
    infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", infos, outs, tensors)
    model = Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    result = model.clone()
    Simplify().run(result, context(Simplify(), result, model))
    feeds = feeds_for(model)
    (expected,), (got,) = run(model, feeds), run(result, feeds)
    # Shifts of about 1 may cancel, so rounding may be large relative to the outputs.
    assert np.abs(got - expected).max() <= 3e-6 * max(1, np.abs(expected).max())
    ops = [node.op for node in result.nodes()]
    behind = [node.op_type for node in nodes[1:-1]]
    if node.op_type != "MatMul":
        assert ops == [node.op_type, "Relu"]
    elif not {"Add", "Sub"} & set(behind):
        assert ops == ["MatMul", "Relu"]
    elif "Sub" not in behind:
        assert ops in (["MatMul", "Add", "Relu"], ["Gemm", "Relu"])
