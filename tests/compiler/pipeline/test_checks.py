"""The checker accepts every model, wherever its large weights are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.checks import fault_of

LARGE = np.ones((64, 64), np.float32)


def constant(name):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(LARGE))


def body(name):
    nodes = [constant(f"{name}_w"), helper.make_node("MatMul", ["x", f"{name}_w"], [name])]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])


def model(nodes):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])
    graph = helper.make_graph(nodes, "g", [x, c], [y])
    return Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@pytest.mark.parametrize(
    "nodes",
    [
        [constant("w"), helper.make_node("MatMul", ["x", "w"], ["y"])],
        [helper.make_node("If", ["c"], ["y"], then_branch=body("a"), else_branch=body("b"))],
    ],
)
def test_large_tensors_in_constant_nodes_are_not_a_fault(nodes):
    checked = model(nodes)
    assert fault_of(checked) is None
    assert checked.proto() == model(nodes).proto(), "and the model keeps them"
    onnx.checker.check_model(checked.proto(), full_check=True)


def test_a_fault_is_one_line():
    fault = fault_of(model([constant("w"), helper.make_node("MatMul", ["x", "w"], ["y"], axis=1)]))
    assert fault is not None
    assert fault.startswith("not a valid ONNX model: ")
    assert "axis" in fault
    assert "\n" not in fault
