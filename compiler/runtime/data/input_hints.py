"""What a graph implies about its inputs' values: tables that they index, constants that they are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node, Tensor, Variable
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.runtime.specs import ModelLike, as_model

_LARGEST_COMPARED = 16


@dataclass(frozen=True)
class Hints:
    """`below`: the rows of the table that an input indexes. `equal`: a value that the graph compares an input with."""

    below: dict[str, int] = field(default_factory=dict)
    equal: dict[str, float] = field(default_factory=dict)


def hints_of(model: ModelLike) -> Hints:
    """The hints found in the graph, including bodies."""
    graph = as_model(model)
    hints = Hints()
    for node in graph.nodes():
        facts = ops.of(node)
        if facts.movement is ops.Movement.REPEATS and facts.indices:
            _bound(node, hints)
        elif node.is_op("Equal"):
            _comparison(node, hints)
    return hints


def _bound(node: Node, hints: Hints) -> None:
    table, indexed = node.inputs[0], _input_behind(node.inputs[1])
    constant = constant_of(table)
    shape = tuple(constant.stored.shape) if constant is not None else table.shape
    axis = int(node.attrs.get("axis", 0))
    if indexed is None or not shape or axis >= len(shape) or not isinstance(shape[axis], int):
        return
    rows = int(shape[axis])
    hints.below[indexed] = min(rows, hints.below.get(indexed, rows))


def _comparison(node: Node, hints: Hints) -> None:
    for tensor, other in (node.inputs, node.inputs[::-1]):
        constant, name = constant_of(other), _input_behind(tensor)
        if constant is not None and name is not None and math.prod(constant.stored.shape) <= _LARGEST_COMPARED:
            values = np.ravel(constant.values)
            if values.size and values.dtype.kind in "iuf":
                hints.equal.setdefault(name, values[0].item())


def _input_behind(tensor: Tensor) -> str | None:
    """The name of the graph input whose values `tensor` holds; None if it holds others."""
    while tensor.inputs:
        node = tensor.inputs[0]
        if not ops.of(node).keeps_values:
            return None
        tensor = node.inputs[0]
    return tensor.name if isinstance(tensor, Variable) else None
