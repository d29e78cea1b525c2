"""How a scale s and a shift t of its output channels are folded into each kind of layer.

========================  =====================================================================
Conv, ConvTranspose       W ← s·W along the output channels, b ← s·b + t
Gemm                      B ← B·s, C ← β·C·s + t, β ← 1
MatMul                    B ← B·s; only if t = 0, because MatMul has no bias
MatMul + Add              B ← B·s, the constant of Add ← s·c + t
BatchNormalization        γ ← s·γ, β ← s·β + t
========================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.passes.simplify._analysis.affine import Affine
from onnx_compress.passes.simplify._analysis.facts import Facts, has_input


@dataclass(frozen=True)
class Factor:
    """Input `slot` of `node` is to become scale · input + shift, both of a shape that broadcasts."""

    node: Node
    slot: int
    scale: np.ndarray
    shift: np.ndarray = field(default_factory=lambda: np.zeros(()))


Plan: TypeAlias = list[Factor] | str
"""The weights to change, or the reason why the layer can't take the scale and shift."""
_VARIES = "it varies along other axes than the channels"
_COMPUTED = "the weight before it is not a plain constant"


def _conv(node: Node, facts: Facts, affine: Affine) -> Plan:
    weight = facts.constant(node.inputs[1])
    if weight is None:
        return _COMPUTED
    shape = tuple(weight.stored.shape)
    vectors = affine.along(1, len(shape), shape[0])
    if vectors is None:
        return _VARIES
    scale, shift = vectors
    return [Factor(node, 1, scale.reshape(-1, *(1,) * (len(shape) - 1))), Factor(node, 2, scale, shift)]


def _conv_transpose(node: Node, facts: Facts, affine: Affine) -> Plan:
    weight = facts.constant(node.inputs[1])
    if weight is None:
        return _COMPUTED
    shape, groups = tuple(weight.stored.shape), node.attrs.get("group", 1)
    vectors = affine.along(1, len(shape), shape[1] * groups)
    if vectors is None:
        return _VARIES
    scale, shift = vectors
    # W is [C_in, C_out/groups, ...]: the rows of group g compute the output channels of group g.
    by_row = np.repeat(scale.reshape(groups, shape[1]), shape[0] // groups, axis=0)
    return [Factor(node, 1, by_row.reshape(*by_row.shape, *(1,) * (len(shape) - 2))), Factor(node, 2, scale, shift)]


def _gemm(node: Node, facts: Facts, affine: Affine) -> Plan:
    weight = facts.constant(node.inputs[1])
    if weight is None:
        return _COMPUTED
    is_transposed = bool(node.attrs.get("transB"))
    vectors = affine.along(1, 2, weight.stored.shape[0 if is_transposed else 1])
    if vectors is None:
        return _VARIES
    scale, shift = vectors
    beta = node.attrs.get("beta", 1.0) if has_input(node, 2) else 1.0
    return [Factor(node, 1, scale[:, None] if is_transposed else scale), Factor(node, 2, scale * beta, shift)]


def _matmul(node: Node, facts: Facts, affine: Affine) -> Plan:
    vectors = _along_columns(node, facts, affine)
    if isinstance(vectors, str):
        return vectors
    scale, shift = vectors
    return [Factor(node, 1, scale)] if (shift == 0).all() else "MatMul has no bias"


def _along_columns(node: Node, facts: Facts, affine: Affine) -> tuple[np.ndarray, np.ndarray] | str:
    weight, shape = facts.constant(node.inputs[1]), facts.shape(node.outputs[0])
    if weight is None or len(weight.stored.shape) != 2:
        return _COMPUTED
    if shape is None or len(shape) < 2:
        return "the rank of MatMul's output is unknown"
    return affine.along(len(shape) - 1, len(shape), weight.stored.shape[1]) or _VARIES


def _biased_matmul(node: Node, facts: Facts, affine: Affine) -> Plan:
    slot = next((slot for slot in (1, 0) if facts.constant(node.inputs[slot]) is not None), None)
    product = node.inputs[1 - slot] if slot is not None else None
    if slot is None or product is None or not product.inputs or not product.inputs[0].is_op("MatMul"):
        return "the sum before it is not MatMul plus a bias"
    matmul = product.inputs[0]
    if not facts.is_alone(product) or matmul.graph is not node.graph:
        return f"'{product.name}' is also needed elsewhere"
    bias, vectors = facts.constant(node.inputs[slot]), _along_columns(matmul, facts, affine)
    if isinstance(vectors, str):
        return vectors
    scale, shift = vectors
    # One value, or one per channel: then it broadcasts against scale and shift as it does against the product.
    shape = tuple(bias.stored.shape) if bias is not None else (0,)
    if shape not in ((), (1,)) and shape != (1,) * (len(shape) - 1) + scale.shape:
        return "the sum before it does not add a bias per channel"
    return [Factor(matmul, 1, scale), Factor(node, slot, scale, shift)]


def _batchnorm(node: Node, facts: Facts, affine: Affine) -> Plan:
    gamma, shape = facts.constant(node.inputs[1]), facts.shape(node.inputs[0])
    if gamma is None or shape is None or node.attrs.get("training_mode"):
        return _COMPUTED
    vectors = affine.along(1, len(shape), gamma.stored.shape[0])
    if vectors is None:
        return _VARIES
    scale, shift = vectors
    return [Factor(node, 1, scale), Factor(node, 2, scale, shift)]


PLANS: dict[str, Callable[[Node, Facts, Affine], Plan]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _biased_matmul,
    "BatchNormalization": _batchnorm,
}
