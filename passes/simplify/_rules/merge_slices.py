"""Merge a Slice of a Slice along other axes, and flatten Concats and drop their empty inputs.

::

    Slice(Slice(x, axes=a), axes=b)              →  Slice(x, axes=a+b)      where no axis is in both
    Concat(x, Concat(y, z))                      →  Concat(x, y, z)         along the same axis
    Concat(x, [n, 0, m])                         →  Concat(x)               along the axis of length 0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts, has_input


def merge_slices(model: Model, ctx: Context, facts: Facts) -> int:
    """Merge wherever the value in between is not needed otherwise."""
    changed = 0
    for node in model.nodes():
        if node.is_op("Slice") and model.opset >= 10:
            changed += _merge(model, facts, node)
        elif node.is_op("Concat"):
            changed += _flatten(model, facts, node)
    return changed


@dataclass(frozen=True)
class _Cut:
    """The bounds of a Slice, each an int64 vector; axes count from the front."""

    starts: np.ndarray
    ends: np.ndarray
    axes: np.ndarray
    steps: np.ndarray


def _merge(model: Model, facts: Facts, node: Node) -> bool:
    before = node.inputs[0].inputs[0] if node.inputs[0].inputs else None
    if before is None or not before.is_op("Slice") or before.graph is not node.graph:
        return False
    inner, outer = _cut(before, facts), _cut(node, facts)
    if inner is None or outer is None or not _vanishes(before, inner, facts):
        return False
    edit.set_input(model, node, 0, before.inputs[0])
    for slot, part in enumerate(("starts", "ends", "axes", "steps"), start=1):
        values = np.concatenate([getattr(inner, part), getattr(outer, part)])
        constant = edit.add_constant(model, node.outputs[0].name, part, values, graph=node.graph)
        edit.set_input(model, node, slot, constant)
    return True


def _vanishes(before: Node, inner: _Cut, facts: Facts) -> bool:
    """Whether every reader of the value in between is a Slice that can be merged with the first."""
    between = before.outputs[0]
    cuts = [_cut(reader, facts) if reader.is_op("Slice") else None for reader in between.outputs]
    is_merged = all(cut is not None and not np.intersect1d(inner.axes, cut.axes).size for cut in cuts)
    return is_merged and between not in facts.results


def _cut(node: Node, facts: Facts) -> _Cut | None:
    shape = facts.shape(node.inputs[0])
    starts, ends = facts.input_value(node, 1), facts.input_value(node, 2)
    if shape is None or starts is None or ends is None:
        return None
    axes = facts.input_value(node, 3) if has_input(node, 3) else np.arange(len(starts))
    steps = facts.input_value(node, 4) if has_input(node, 4) else np.ones(len(starts))
    if axes is None or steps is None:
        return None
    return _Cut(*(np.asarray(part, np.int64) for part in (starts, ends, axes % len(shape), steps)))


def _flatten(model: Model, facts: Facts, node: Node) -> bool:
    inputs = [part for tensor in node.inputs for part in _parts(node, tensor, facts)]
    if not inputs or (len(inputs) == len(node.inputs) and all(a is b for a, b in zip(inputs, node.inputs))):
        return False
    edit.retype(model, node, "Concat", inputs, node.attrs)
    return True


def _parts(node: Node, tensor: Tensor, facts: Facts) -> list[Tensor]:
    """The inputs that replace `tensor` in the Concat `node`: none if empty, those of its own Concat, or itself."""
    shape, axis = facts.shape(tensor), node.attrs.get("axis", 1)
    if shape and -len(shape) <= axis < len(shape) and shape[axis] == 0:
        return []
    producer = tensor.inputs[0] if tensor.inputs else None
    is_nested = producer is not None and producer.is_op("Concat") and producer.graph is node.graph
    if producer is None or not is_nested or not shape or not facts.is_alone(tensor):
        return [tensor]
    same_axis = producer.attrs.get("axis", 1) % len(shape) == axis % len(shape)
    return list(producer.inputs) if same_axis else [tensor]
