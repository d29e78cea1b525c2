"""Read weights wherever a framework put them: initializers, Constant nodes, and both behind Identity."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.graph import Constant, Node, Tensor

_SCALARS = {
    "value_float": np.float32,
    "value_int": np.int64,
    "value_floats": np.float32,
    "value_ints": np.int64,
}


def source_of(tensor: Tensor) -> Tensor:
    """The tensor that `tensor` copies, seen through Identity: a weight's initializer or Constant node's output."""
    while tensor.inputs and tensor.inputs[0].is_op("Identity"):
        tensor = tensor.inputs[0].inputs[0]
    return tensor


def constant_of(tensor: Tensor) -> Constant | None:
    """The constant that `tensor` always equals, seen through Identity and Constant nodes; None for computed values."""
    source = source_of(tensor)
    if isinstance(source, Constant):
        return source
    is_stored = bool(source.inputs) and source.inputs[0].is_op("Constant")
    return _of_constant_node(source.inputs[0]) if is_stored else None


def input_constant(node: Node, slot: int) -> Constant | None:
    """The constant that `node` reads at input `slot`; None if the slot is absent, empty or computed."""
    if slot >= len(node.inputs) or not node.inputs[slot].name:
        return None
    return constant_of(node.inputs[slot])


def input_value(node: Node, slot: int) -> np.ndarray | None:
    """The array that `node` reads at input `slot`; None if the slot is absent, empty or computed."""
    constant = input_constant(node, slot)
    return None if constant is None else constant.values


def _of_constant_node(node: Node) -> Constant | None:
    name = node.outputs[0].name
    for key, value in node.attrs.items():
        if key == "value" and isinstance(value, Constant):
            return value
        if key in _SCALARS:
            return Constant(name, np.asarray(value, _SCALARS[key]))
        if key in ("value_string", "value_strings"):
            return Constant(name, np.asarray(value, object))
    return None
