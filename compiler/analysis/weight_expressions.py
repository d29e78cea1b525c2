"""Weights as stored in the file, seen through the operators that decode them.

A convolution may read its weight from an initializer, a Constant node, or a small expression over constants:
DequantizeLinear, `Mul(Cast(integers), scale)`, `Gather(codebook, indices)`, each possibly followed by Transpose or
Reshape. Each of these is one weight with as many parameters as the expression has elements; scales and codebooks
describe it and do not count as parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Constant, Node, Tensor
from onnx_compress.compiler.ir.weights import constant_of

MAX_STEPS = 16
"""Maximum number of operators between a weight and its reader; no exporter writes more."""


@dataclass(frozen=True)
class StoredWeight:
    """A weight and the constants that store it.

    `key` is the constant with its elements (values, integers or indices): readers with the same key read the
    same weight. `parts` are all constants, `key` first. `zero` is the integer that represents 0: one for all
    elements, one per position of `axis`, or one per block.
    """

    key: Constant
    parts: tuple[Constant, ...]
    zero: Constant | None = None
    axis: int = 1
    codebook: Constant | None = None

    @property
    def elements(self) -> int:
        """Number of parameters: the elements of the weight; a codebook's row may hold several."""
        each = 1 if self.codebook is None else math.prod(self.codebook.shape[1:])
        return math.prod(self.key.shape) * each

    @property
    def nbytes(self) -> int:
        """Bytes of all parts in their stored forms."""
        return sum(part.stored_bytes for part in self.parts)

    def nonzero(self) -> int:
        """Number of elements that do not represent 0."""
        values = self.key.values
        if self.codebook is not None:
            return int(np.count_nonzero(self.codebook.values[values.astype(np.int64)]))
        if self.zero is None:
            return int(np.count_nonzero(values))
        return int(np.count_nonzero(values != _spread(self.zero.values, values.shape, self.axis)))


@dataclass(frozen=True)
class PackedWeight(StoredWeight):
    """The weight [rows, columns] of a MatMulNBits, packed as [columns, blocks, bytes]; the last block is padded.

    Zero points are packed in the same way, [columns, blocks], or floats; by default 0 is in the middle of the range.
    """

    rows: int = 0
    columns: int = 0
    bits: int = 4

    @property
    def elements(self) -> int:
        """Number of parameters: the elements of the weight, not its bytes."""
        return self.rows * self.columns

    def nonzero(self) -> int:
        """Number of elements that do not represent 0."""
        blocks = self.key.shape[1]
        values = _unpacked(self.key.values, self.bits).reshape(self.columns, blocks, -1)
        zero = np.full((self.columns, blocks), 1 << (self.bits - 1))
        if self.zero is not None:
            given = self.zero.values.reshape(self.columns, -1)
            zero = (_unpacked(given, self.bits) if is_integer(self.zero) else given)[:, :blocks]
        differs = values != zero[..., None]
        return int(np.count_nonzero(differs.reshape(self.columns, -1)[:, : self.rows]))


def packed_weight(node: Node) -> PackedWeight | None:
    """The weight of a MatMulNBits; None if it is computed."""
    found = [constant_of(tensor) if tensor.name else None for tensor in node.inputs[1:4]]
    if found[0] is None:
        return None
    return PackedWeight(
        key=found[0],
        parts=tuple(part for part in found if part is not None),
        zero=found[2] if len(found) > 2 else None,
        rows=int(node.attrs["K"]),
        columns=int(node.attrs["N"]),
        bits=int(node.attrs.get("bits", 4)),
    )


def _unpacked(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers of `bits` bits unpacked from the bytes of the last axis, the lowest bits first."""
    shifted = values[..., None] >> np.arange(0, 8, bits, dtype=values.dtype)
    return (shifted & ((1 << bits) - 1)).reshape(*values.shape[:-1], -1)


def stored_weight(tensor: Tensor, steps: int = MAX_STEPS) -> StoredWeight | None:
    """The weight that `tensor` always equals, whatever its type; None for computed values."""
    tensor, steps = _source(tensor, steps)
    constant = constant_of(tensor)
    if constant is not None:
        return StoredWeight(constant, (constant,))
    if not tensor.inputs or steps <= 0:
        return None
    node = tensor.inputs[0]
    if node.op == "DequantizeLinear":
        return _dequantized(node, steps - 1)
    if node.is_op("Mul", "Sub"):
        return _scaled(node, steps - 1)
    if node.is_op("Gather"):
        return _looked_up(node)
    return None


def _source(tensor: Tensor, steps: int) -> tuple[Tensor, int]:
    """`tensor` before the operators that only pass a weight on, and the remaining steps."""
    while steps > 0 and tensor.inputs and _passes_on(tensor.inputs[0]):
        tensor = tensor.inputs[0].inputs[0]
        steps -= 1
    return tensor, steps


def _passes_on(node: Node) -> bool:
    return ops.of(node).keeps_elements or node.op == "QuantizeLinear"


def _plain(tensor: Tensor) -> Constant | None:
    return constant_of(_source(tensor, MAX_STEPS)[0])


def _dequantized(node: Node, steps: int) -> StoredWeight | None:
    inner = stored_weight(node.inputs[0], steps)
    if inner is None:
        return None
    described = [_plain(t) for t in node.inputs[1:] if t.name]
    parts = (*inner.parts, *(c for c in described if c is not None))
    zero = described[1] if len(described) > 1 and is_integer(inner.key) else inner.zero
    return replace(inner, parts=parts, zero=zero, axis=node.attrs.get("axis", 1))


def _scaled(node: Node, steps: int) -> StoredWeight | None:
    """`Mul(Cast(integers), scale)` and `Sub(Cast(integers), zero)`: the integers are the elements."""
    left, right = node.inputs
    scale = _plain(right)
    if node.op == "Mul" and (scale is None or is_integer(scale)):
        left, scale = right, _plain(left)
    inner = None if scale is None else stored_weight(left, steps)
    if inner is None or scale is None or not is_integer(inner.key):
        return None
    zero = scale if node.op == "Sub" else inner.zero
    return replace(inner, parts=(*inner.parts, scale), zero=zero)


def _looked_up(node: Node) -> StoredWeight | None:
    codebook, indices = _plain(node.inputs[0]), _plain(node.inputs[1])
    if codebook is None or indices is None or not 1 <= len(codebook.shape) <= 2:
        return None
    return StoredWeight(indices, (indices, codebook), codebook=codebook)


def is_integer(constant: Constant) -> bool:
    """Whether the elements are integers, including 4-bit ones."""
    return constant.dtype.kind in "iu" or "int" in constant.dtype.name


def is_float(constant: Constant) -> bool:
    """Whether the elements are floating-point numbers of any width."""
    return constant.dtype.kind == "f" or "float" in constant.dtype.name


def _spread(zero: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Zero points in a shape that broadcasts to the weight's `shape`."""
    if zero.size == 1:
        return zero.reshape(())
    if zero.ndim == 1:
        return zero.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])
    for i, (blocks, extent) in enumerate(zip(zero.shape, shape)):
        if blocks not in (1, extent):
            zero = np.take(np.repeat(zero, -(-extent // blocks), i), range(extent), i)
    return zero
