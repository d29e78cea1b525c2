"""Fold the contributions of constant channels into a layer's bias."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.contractions import Contraction
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant, input_value


def obstacle(layer: Contraction) -> str | None:
    """Why a non-zero constant can't be folded into the layer's bias, or None."""
    node = layer.node
    if node.op == "Conv" and not layer.is_uniform:
        return "its zero padding makes their contribution smaller at the edges"
    if not layer.is_uniform or (layer.slot == 0):
        return "their contribution is not a bias of this layer"
    if node.op == "Gemm" and node.attrs.get("beta", 1.0) == 0:
        return "its bias is multiplied by 0"
    if node.op == "MatMul" or len(node.inputs) < 3 or not node.inputs[2].name:
        return None
    bias = input_constant(node, 2)
    if bias is None:
        return "its bias is computed"
    return None if all(size == 1 for size in bias.stored.shape[:-1]) else "its bias is not a vector"


def add(model: Model, layer: Contraction, shift: np.ndarray) -> None:
    """Add `shift` [rows] to the results of a layer without obstacle, in its present width."""
    node = layer.node
    if node.op == "MatMul":
        _behind(model, node, shift)
        return
    bias = input_value(node, 2)
    if bias is None:
        weight = input_value(node, 1)
        assert weight is not None
        made = edit.add_constant(model, node.inputs[1].name, "bias", shift.astype(weight.dtype), graph=node.graph)
        edit.set_input(model, node, 2, made)
        return
    moved = bias + shift / node.attrs.get("beta", 1.0)
    edit.set_weight(model, node, 2, moved.astype(bias.dtype))


def _behind(model: Model, node: Node, shift: np.ndarray) -> None:
    """Add it in the Add that follows a MatMul, or in a new one."""
    result = node.outputs[0]
    weight = input_value(node, 1)
    assert weight is not None
    readers = edit.uses(model, result)
    if len(readers) == 1 and not edit.is_output(model, result) and readers[0][0].is_op("Add"):
        adder, slot = readers[0]
        bias = input_value(adder, 1 - slot)
        if bias is not None and bias.shape[-1:] == shift.shape and adder.graph is node.graph:
            edit.set_weight(model, adder, 1 - slot, (bias + shift).astype(bias.dtype))
            return
    raw = edit.divert(model, result, "product")
    made: Constant = edit.add_constant(model, node.inputs[1].name, "bias", shift.astype(weight.dtype), graph=node.graph)
    base = node.name or result.name
    edit.add_node(model, "Add", [raw, made], base=base, suffix="bias", after=node, outputs=[result])
