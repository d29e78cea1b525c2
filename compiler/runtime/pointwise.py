"""Element-wise operators on partly known inputs, computed by onnxruntime as at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx_compress.compiler.errors import CompressError
from onnx_compress.compiler.ir.extract import node_part
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.session import create


@dataclass(frozen=True, eq=False)
class Operand:
    """`values`, a scalar or a vector along one axis; entries where `is_unknown` are undefined."""

    values: np.ndarray
    is_unknown: np.ndarray

    @classmethod
    def unknown(cls) -> Operand:
        """The operand of an entirely unknown input."""
        return cls(np.zeros((), np.float32), np.ones((), bool))

    def masked(self) -> np.ndarray:
        """The values as float64, NaN where unknown."""
        return np.where(self.is_unknown, np.nan, self.values.astype(np.float64))


def vector_of(values: np.ndarray, axis: int) -> Operand:
    """The common value of all elements at each index of an axis, unknown where they differ.

    A scalar where the constant is broadcast along the axis, because its rank is lower or its length there is 1.
    """
    has_axis = axis >= 0 and values.shape[axis] != 1
    moved = np.moveaxis(values, axis, 0) if has_axis else values.reshape(1, -1)
    shape = moved.shape[:1] if has_axis else ()
    if not moved.size:
        return Operand(np.zeros(shape, values.dtype), np.ones(shape, bool))
    corners: list[Any] = [(slice(None), *(end,) * (moved.ndim - 1)) for end in (0, -1)]
    first, last = (np.asarray(moved[corner]) for corner in corners)
    differs = np.asarray(first != last)
    same = np.flatnonzero(~differs)  # a few at most, for trained weights
    differs[same] = (moved[same].reshape(len(same), moved.size // len(moved)) != first[same, None]).any(1)
    return Operand(first.reshape(shape), differs.reshape(shape))


def computed(model: Model, node: Node, operands: Sequence[Operand | None], size: int) -> np.ndarray:
    """The output of `node` along the axis: float64 [size], NaN where it depends on an unknown value.

    Absent inputs are None. A product with a known zero is zero whatever the other factor is.
    """
    given = [operand for operand in operands if operand is not None]
    is_unknown = np.broadcast_to(np.any(np.broadcast_arrays(*[o.is_unknown for o in given]), axis=0), (size,))
    result = np.full(size, np.nan)
    if not is_unknown.all():
        result = np.where(is_unknown, np.nan, _run(model, node, operands, size))
    if node.op == "Mul":
        zeros = [~operand.is_unknown & (operand.values == 0) for operand in given]
        result = np.where(np.any(np.broadcast_arrays(*zeros), axis=0), 0.0, result)
    return result


def _run(model: Model, node: Node, operands: Sequence[Operand | None], size: int) -> np.ndarray:
    """Run the node on vectors; NaN if onnxruntime can't."""
    part = node_part(model, node, [None if operand is None else operand.values.copy() for operand in operands])
    try:
        values = create(part, optimize=False).run({})[part.graph.outputs[0].name]
    except CompressError:
        return np.full(size, np.nan)
    return np.asarray(np.broadcast_to(values.astype(np.float64), (size,)))
