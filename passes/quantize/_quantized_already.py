"""Recognize models that are already quantized: quantizing twice only adds error."""

from __future__ import annotations

from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant

INTEGER_OPS = frozenset(
    {
        "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QuantizeLinear", "DynamicQuantizeLinear",
        "QGemm", "QLinearAdd", "QLinearMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits",
        "DynamicQuantizeLSTM", "QAttention", "GatherBlockQuantized", "QMoE",
    }
)  # fmt: skip


def quantized_by(model: Model) -> Node | None:
    """A node that shows that `model` already has integer weights or activations; None for a float model."""
    for node in model.nodes():
        if node.op in INTEGER_OPS or _decodes_weight(node):
            return node
    return None


def _decodes_weight(node: Node) -> bool:
    """Whether the node is DequantizeLinear or Cast of an integer weight: rank ≥ 2, 4 or 8 bits."""
    if not node.is_op("DequantizeLinear", "Cast"):
        return False
    constant = input_constant(node, 0)
    return constant is not None and _is_narrow(constant) and len(constant.stored.shape) >= 2 and _is_large(constant)


def _is_narrow(constant: Constant) -> bool:
    return str(constant.stored.dtype) in ("int8", "uint8", "int4", "uint4")


def _is_large(constant: Constant) -> bool:
    return constant.nbytes >= 256
