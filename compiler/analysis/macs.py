"""Multiply-accumulates of one node, from the shapes of its inputs and outputs.

As usual, only matrix products and convolutions count: element-wise operators, activations, normalization and
pooling count as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.runtime.shapes.sizes import UnknownSize

Sizes: TypeAlias = Callable[[Tensor], tuple[int, ...]]
"""The shape of a tensor in integers; raises UnknownSize if a dimension is unknown."""


def macs(node: Node, sizes: Sizes) -> int:
    """Multiply-accumulates of one execution of `node`, without its bodies. Raises UnknownSize."""
    formula = FORMULAS.get(ops.key(node))
    if formula is None:
        return 0
    try:
        return formula(node, sizes)
    except (IndexError, ValueError, ZeroDivisionError):
        raise UnknownSize("the shapes of its inputs are inconsistent") from None


def _convolution(weight: int) -> Callable[[Node, Sizes], int]:
    """Every output element sums C_in/groups · ∏kernel products: y [N, C_out, …], w [C_out, C_in/groups, …]."""

    def formula(node: Node, sizes: Sizes) -> int:
        return math.prod(sizes(node.outputs[0])) * math.prod(sizes(node.inputs[weight])[1:])

    return formula


def _transposed_convolution(node: Node, sizes: Sizes) -> int:
    """Every input element spreads into C_out/groups · ∏kernel outputs: x [N, C_in, …], w [C_in, C_out/groups, …]."""
    return math.prod(sizes(node.inputs[0])) * math.prod(sizes(node.inputs[1])[1:])


def _product(first: int, second: int) -> Callable[[Node, Sizes], int]:
    """A [M, K] times B [K, N] is M·K·N; leading axes broadcast; transA and transB swap the last two."""

    def formula(node: Node, sizes: Sizes) -> int:
        a = _matrix(sizes(node.inputs[first]), swap=bool(node.attrs.get("transA")), is_row=True)
        b = _matrix(sizes(node.inputs[second]), swap=bool(node.attrs.get("transB")), is_row=False)
        return math.prod(np.broadcast_shapes(a[:-2], b[:-2])) * a[-2] * a[-1] * b[-1]

    return formula


def _matrix(shape: tuple[int, ...], *, swap: bool, is_row: bool) -> tuple[int, ...]:
    """`shape` with at least two axes, as MatMul completes a vector."""
    if len(shape) == 1:
        return (1, *shape) if is_row else (*shape, 1)
    return (*shape[:-2], shape[-1], shape[-2]) if swap else shape


def _packed_product(node: Node, sizes: Sizes) -> int:
    """MatMulNBits: A [… , K] times a packed weight of N columns."""
    return math.prod(sizes(node.inputs[0])) * int(node.attrs["N"])


def _recurrent(node: Node, sizes: Sizes) -> int:
    """Each step multiplies by all of W [directions, gates·hidden, in] and R [directions, gates·hidden, hidden]."""
    steps = math.prod(sizes(node.inputs[0])[:2])
    return steps * (math.prod(sizes(node.inputs[1])) + math.prod(sizes(node.inputs[2])))


def _attention(node: Node, sizes: Sizes) -> int:
    """QKᵀ costs |Q|·L and the product with V costs |Y|·L, with L keys including past ones."""
    keys = sizes(node.inputs[1])[-2] if len(node.inputs) > 1 and node.inputs[1].name else sizes(node.inputs[0])[-2]
    past = 4 if node.is_standard else 6
    if len(node.inputs) > past and node.inputs[past].name:
        keys += sizes(node.inputs[past])[-2]
    return (math.prod(sizes(node.inputs[0])) + math.prod(sizes(node.outputs[0]))) * keys


def _projected_attention(node: Node, sizes: Sizes) -> int:
    """com.microsoft.Attention: x [B, S, I] times W [I, Q+K+V], then attention within the S positions."""
    x, y = sizes(node.inputs[0]), sizes(node.outputs[0])
    return math.prod(x) * sizes(node.inputs[1])[-1] + 2 * math.prod(y) * x[1]


def _einsum(node: Node, sizes: Sizes) -> int:
    """One product per combination of all indices of the equation, as in nested loops."""
    equation = node.attrs.get("equation", "")
    if "." in equation:
        raise UnknownSize("the equation has an ellipsis")
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    extents: dict[str, int] = {}
    for term, tensor in zip(terms, node.inputs):
        extents.update(zip(term, sizes(tensor)))
    return math.prod(extents.values()) * max(len(terms) - 1, 0)


FORMULAS: dict[str, Callable[[Node, Sizes], int]] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "DeformConv": _convolution(1),
    "com.microsoft.FusedConv": _convolution(1),
    "ConvTranspose": _transposed_convolution,
    "Gemm": _product(0, 1),
    "MatMul": _product(0, 1),
    "MatMulInteger": _product(0, 1),
    "QLinearMatMul": _product(0, 3),
    "com.microsoft.FusedGemm": _product(0, 1),
    "com.microsoft.FusedMatMul": _product(0, 1),
    "com.microsoft.QGemm": _product(0, 3),
    "com.microsoft.DynamicQuantizeMatMul": _product(0, 1),
    "com.microsoft.MatMulIntegerToFloat": _product(0, 1),
    "com.microsoft.MatMulNBits": _packed_product,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "com.microsoft.DynamicQuantizeLSTM": _recurrent,
    "Attention": _attention,
    "com.microsoft.MultiHeadAttention": _attention,
    "com.microsoft.Attention": _projected_attention,
}
