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


def constant_of(tensor: Tensor) -> Constant | None:
    """The constant that `tensor` always equals, seen through Identity and Constant nodes; None for computed values."""
    while not isinstance(tensor, Constant):
        if not tensor.inputs:
            return None
        node = tensor.inputs[0]
        if node.is_op("Constant"):
            return _of_constant_node(node)
        if not node.is_op("Identity"):
            return None
        tensor = node.inputs[0]
    return tensor


def value_of(tensor: Tensor) -> np.ndarray | None:
    """The array that `tensor` always equals (read-only); None if it is computed."""
    constant = constant_of(tensor)
    return None if constant is None else constant.values


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
