"""Fold shapes as far as they are known.

`Shape`, `Size` and the integer arithmetic after them are evaluated symbolically: an element of a shape is a number, a
named dimension, or unknown. A shape of numbers only becomes an initializer (`Gather(Shape(x), 1)` with fixed
channels). A Reshape or Expand target with named dimensions becomes one if the operator can express them: 0 copies a
dimension of the input, −1 is the only unknown one, and 1 in Expand keeps a dimension. Dynamic dimensions stay dynamic.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Dim, Node, Shape, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._analysis.known_values import Known, known_values


def fold_shapes(model: Model, ctx: Context, facts: Facts) -> int:
    """Replace known shapes, and simple targets of Reshape and Expand, by initializers."""
    known = known_values(model, facts)
    changed = 0
    for node in model.nodes():
        out = node.outputs[0] if node.outputs else None
        if isinstance(out, Variable) and out in known and known[out].is_static and not node.is_op("Constant"):
            changed += _freeze(model, facts, out, known[out])
        elif node.is_op("Reshape", "Expand") and node.inputs[1] in known:
            changed += _fix_target(model, facts, node, known[node.inputs[1]].values)
    return changed


def _freeze(model: Model, facts: Facts, out: Variable, known: Known) -> int:
    kind = facts.type(out)
    if kind is None or out in facts.results:
        return 0
    edit.freeze(model, out, known.array(kind))
    return 1


def _fix_target(model: Model, facts: Facts, node: Node, values: tuple[Dim, ...]) -> int:
    if facts.constant(node.inputs[1]) is not None:
        return 0
    shape = facts.shape(node.inputs[0])
    if node.op == "Reshape":
        means_zero = bool(node.attrs.get("allowzero")) and 0 in values
        target = None if means_zero else reshape_target(shape, values)
    else:
        target = _expand_target(shape, values)
    if target is None:
        return 0
    constant = edit.add_constant(model, node.outputs[0].name, "shape", np.asarray(target, np.int64), graph=node.graph)
    edit.set_input(model, node, 1, constant)
    edit.set_attr(model, node, "allowzero", None)
    return 1


def reshape_target(shape: Shape | None, values: tuple[Dim, ...]) -> list[int] | None:
    """A constant Reshape target equivalent to `values` for an input of `shape`; None if none exists.

    A new −1 needs all other elements to be positive numbers: next to a dimension that may be 0 in a run,
    Reshape refuses to infer it.
    """
    target = [_target_element(shape, axis, value) for axis, value in enumerate(values)]
    inferred = [axis for axis, element in enumerate(target) if element == -1]
    if len(inferred) > 1:
        return None
    if inferred and values[inferred[0]] != -1 and any(element < 1 for element in target if element != -1):
        return None
    return target


def _target_element(shape: Shape | None, axis: int, value: Dim) -> int:
    if isinstance(value, int):
        return value
    is_copied = value is not None and shape is not None and axis < len(shape) and shape[axis] == value
    return 0 if is_copied else -1


def _expand_target(shape: Shape | None, values: tuple[Dim, ...]) -> list[int] | None:
    """A constant Expand target, with 1 where the input already has the named dimension."""
    if shape is None:
        return None
    target = []
    for place, value in enumerate(values, start=len(shape) - len(values)):
        is_kept = isinstance(value, str) and place >= 0 and shape[place] == value
        if not is_kept and not isinstance(value, int):
            return None
        target.append(value if isinstance(value, int) else 1)
    return target
