"""Raising the opset of a file below IR version 4, where each initializer is also an input."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.opset import raise_opset


def old_file():
    weight = np.arange(16, dtype=np.float32).reshape(4, 4)
    declared = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]),
        helper.make_tensor_value_info("v", TensorProto.FLOAT, [4, 4]),
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight, "v")]
    graph = helper.make_graph(nodes, "g", declared, [y], tensors)
    return Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3))


def test_weights_that_passes_shrank_or_added_survive():
    model = old_file()
    first, second = model.nodes()
    edit.set_weight(model, first, 1, first.inputs[1].values[:, :3])
    edit.set_weight(model, second, 1, second.inputs[1].values[:3])
    bias = edit.add_constant(model, "w", "bias", np.ones(3, np.float32))
    edit.add_node(model, "Add", [first.outputs[0], bias], base="w", suffix="add", before=second)
    second.inputs[0] = next(node for node in model.nodes() if node.op == "Add").outputs[0]
    assert raise_opset(model, 13) is None
    after = model.proto()
    onnx.checker.check_model(after, full_check=True)
    assert (model.opset, after.ir_version) == (13, 7)
    assert [i.name for i in after.graph.input] == ["x"], "the others would be defaults of inputs from IR 4 on"
    assert {t.name: list(t.dims) for t in after.graph.initializer} == {"w": [4, 3], "v": [3, 4], "w.bias": [3]}
