"""Turn weights into initializers, however a framework exported them."""

from __future__ import annotations

from onnx_compress.compiler.analysis.weight_readers import ModelWeight
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Tensor, Variable
from onnx_compress.compiler.ir.model import Model


def lifted(model: Model, weight: ModelWeight) -> tuple[Constant, Graph]:
    """The weight as an initializer, and its graph; a Constant node is turned into an initializer."""
    node, slot = weight.readers[0]
    tensor: Tensor = node.inputs[slot]
    while isinstance(tensor, Variable) and tensor.inputs[0].is_op("Identity"):
        tensor = tensor.inputs[0].inputs[0]
    if isinstance(tensor, Variable):
        tensor = edit.freeze(model, tensor, weight.constant.stored)
    holder = next(graph for graph in model.graph.graphs() if any(c is tensor for c in graph.initializers))
    return tensor, holder
