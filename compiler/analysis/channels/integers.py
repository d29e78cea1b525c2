"""The small integer tensors of a graph (shapes, axes, bounds, pads), as far as they follow without running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from onnx_compress.compiler.ir.graph import Constant, Dim, Node, Tensor
from onnx_compress.compiler.ir.weights import constant_of

UNKNOWN = -(1 << 62)
"""Marks an element that depends on the input."""
INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
"""Element types that shapes, indices and their conditions have."""
LIMIT = 4096
"""Integer tensors with more elements are data, not shapes."""


ShapeOf = Callable[[Tensor], Sequence[Dim] | None]
"""The known part of a tensor's shape; None if the rank is unknown."""


class Integers:
    """Values of integer tensors, element by element, UNKNOWN where they depend on the input.

    `sources` maps a tensor to the tensors whose shapes it is computed from.
    """

    def __init__(self, shape_of: ShapeOf) -> None:
        self._shape_of = shape_of
        self.values: dict[Tensor, np.ndarray] = {}
        self.sources: dict[Tensor, frozenset[Tensor]] = {}

    def of(self, tensor: Tensor) -> np.ndarray | None:
        """The tensor's elements; None if it is not a small integer tensor, or not analysed."""
        if tensor in self.values:
            return self.values[tensor]
        constant = constant_of(tensor)
        return None if constant is None else _small(constant)

    def list_of(self, node: Node, slot: int, attribute: str | None = None) -> list[int] | None:
        """The input of `node` at `slot`, or its attribute, as a list; None if an element is unknown."""
        if attribute is not None and attribute in node.attrs:
            value = node.attrs[attribute]
            return [value] if isinstance(value, int) else list(value)
        if slot >= len(node.inputs) or not node.inputs[slot].name:
            return None
        values = self.of(node.inputs[slot])
        if values is None or (values == UNKNOWN).any():
            return None
        return [int(v) for v in values.ravel()]

    def follow(self, node: Node) -> None:
        """Record the outputs of `node` that are small integer tensors."""
        if node.op == "Shape" and node.is_standard:
            self._shape(node)
            return
        self._inherit(node)
        rule = _RULES.get(node.op) if node.is_standard else None
        if rule is None or not node.inputs:
            return
        inputs = [self.of(tensor) if tensor.name else None for tensor in node.inputs]
        if inputs[0] is None or any(v is None and t.name for v, t in zip(inputs, node.inputs)):
            return
        try:
            result = rule(node, inputs)
        except (ValueError, IndexError, TypeError, ZeroDivisionError):
            return  # a computation that would also fail at run time, or is not supported here
        if result is None or result.size > LIMIT:
            return
        self.values[node.outputs[0]] = result

    def _inherit(self, node: Node) -> None:
        """Record which shapes the outputs depend on, if they are computed only from shapes and constants.

        This stops where integers become other numbers, which the rule of Cast handles.
        """
        if node.op == "Cast" and node.attrs.get("to") not in INTEGERS:
            return
        found: frozenset[Tensor] = frozenset()
        for tensor in node.inputs:
            if tensor in self.sources:
                found |= self.sources[tensor]
            elif tensor.name and tensor not in self.values and constant_of(tensor) is None:
                return
        if found:
            self.sources.update(dict.fromkeys(node.outputs, found))

    def _shape(self, node: Node) -> None:
        shape = self._shape_of(node.inputs[0])
        if shape is None:
            return
        sizes = np.array([d if isinstance(d, int) else UNKNOWN for d in shape], np.int64)
        end = node.attrs.get("end", len(sizes))
        self.values[node.outputs[0]] = sizes[node.attrs.get("start", 0) : end]
        self.sources[node.outputs[0]] = frozenset(node.inputs)


def _small(constant: Constant) -> np.ndarray | None:
    stored = constant.stored
    if stored.dtype not in (np.int64, np.int32, np.bool_) or int(np.prod(stored.shape)) > LIMIT:
        return None
    return constant.values.astype(np.int64)


_Rule = Callable[[Node, list[Any]], np.ndarray | None]


def _arithmetic(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> _Rule:
    def rule(node: Node, inputs: list[Any]) -> np.ndarray:
        a, b = np.broadcast_arrays(inputs[0], inputs[1])
        unknown = (a == UNKNOWN) | (b == UNKNOWN)
        safe = np.where(unknown, 1, b)
        if function in (np.floor_divide, np.mod) and (safe == 0).any():
            raise ZeroDivisionError
        return np.where(unknown, UNKNOWN, function(np.where(unknown, 0, a), safe))

    return rule


def _equal(node: Node, inputs: list[Any]) -> np.ndarray:
    """1 where equal, 0 elsewhere; an unknown length never equals a negative number."""
    a, b = np.broadcast_arrays(inputs[0], inputs[1])
    other = np.where(a == UNKNOWN, b, a)
    open_ = ((a == UNKNOWN) | (b == UNKNOWN)) & ((other >= 0) | (other == UNKNOWN))
    return np.where(open_, UNKNOWN, (a == b).astype(np.int64))


def _where(node: Node, inputs: list[Any]) -> np.ndarray:
    condition, yes, no = np.broadcast_arrays(*inputs)
    either = np.where(yes == no, yes, UNKNOWN)
    return np.where(condition == UNKNOWN, either, np.where(condition != 0, yes, no))


def _cast(node: Node, inputs: list[Any]) -> np.ndarray | None:
    return np.asarray(inputs[0]) if node.attrs.get("to") in INTEGERS else None


def _gather(node: Node, inputs: list[Any]) -> np.ndarray:
    return np.asarray(np.take(inputs[0], inputs[1], axis=node.attrs.get("axis", 0)))


def _concat(node: Node, inputs: list[Any]) -> np.ndarray:
    return np.concatenate(inputs, axis=node.attrs.get("axis", 0))


def _axes(node: Node, inputs: list[Any]) -> list[int]:
    given = node.attrs.get("axes", inputs[1] if len(inputs) > 1 else None)
    return [] if given is None else [int(axis) for axis in np.ravel(given)]


def _unsqueeze(node: Node, inputs: list[Any]) -> np.ndarray:
    return np.expand_dims(inputs[0], tuple(_axes(node, inputs)))


def _squeeze(node: Node, inputs: list[Any]) -> np.ndarray:
    axes = _axes(node, inputs)
    return np.asarray(np.squeeze(inputs[0], tuple(axes) if axes else None))


def _slice(node: Node, inputs: list[Any]) -> np.ndarray:
    if "starts" in node.attrs:
        starts, ends = node.attrs["starts"], node.attrs["ends"]
        axes, steps = node.attrs.get("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = inputs[1], inputs[2]
        axes = inputs[3] if len(inputs) > 3 and inputs[3] is not None else range(len(starts))
        steps = inputs[4] if len(inputs) > 4 else [1] * len(starts)
    cut: list[slice] = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        if UNKNOWN in (start, end):
            raise ValueError("unknown bounds")
        begins_before = step < 0 and end < -inputs[0].shape[axis]
        cut[axis] = slice(int(start), None if begins_before else int(end), int(step))
    return np.asarray(inputs[0][tuple(cut)])


def _reshape(node: Node, inputs: list[Any]) -> np.ndarray:
    return np.asarray(inputs[0].reshape([int(d) for d in inputs[1]]))


def _constant_of_shape(node: Node, inputs: list[Any]) -> np.ndarray | None:
    value = node.attrs.get("value")
    if (inputs[0] == UNKNOWN).any() or value is None or value.stored.dtype not in (np.int64, np.int32):
        return None
    if np.prod(inputs[0]) > LIMIT:
        return None
    return np.full([int(d) for d in inputs[0]], int(value.values.ravel()[0]), np.int64)


def _transpose(node: Node, inputs: list[Any]) -> np.ndarray:
    return np.transpose(inputs[0], node.attrs.get("perm"))


_RULES: dict[str, _Rule] = {
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(np.floor_divide),
    "Mod": _arithmetic(np.mod),
    "Min": _arithmetic(np.minimum),
    "Max": _arithmetic(np.maximum),
    "Equal": _equal,
    "Where": _where,
    "Cast": _cast,
    "Identity": lambda node, inputs: inputs[0],
    "Gather": _gather,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ConstantOfShape": _constant_of_shape,
}
