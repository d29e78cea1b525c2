"""Recognize models that are already quantized: quantizing twice only adds error."""

from __future__ import annotations

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant


def quantized_by(model: Model) -> Node | None:
    """A node that shows that `model` already has integer weights or activations; None for a float model."""
    for node in model.nodes():
        computes_in_integers = ops.of(node).is_quantized and node.op != "DequantizeLinear"
        if computes_in_integers or _decodes_weight(node):
            return node
    return None


def _decodes_weight(node: Node) -> bool:
    """Whether the node is DequantizeLinear or Cast of an integer weight: rank ≥ 2, 4 or 8 bits."""
    if node.op != "DequantizeLinear" and not node.is_op("Cast"):
        return False
    constant = input_constant(node, 0)
    return constant is not None and _is_narrow(constant) and len(constant.stored.shape) >= 2 and _is_large(constant)


def _is_narrow(constant: Constant) -> bool:
    return str(constant.stored.dtype) in ("int8", "uint8", "int4", "uint4")


def _is_large(constant: Constant) -> bool:
    return constant.nbytes >= 256
