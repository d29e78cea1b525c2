"""Merge consecutive nodes that only rearrange or convert.

::

    Reshape ∘ Flatten, Squeeze ∘ Unsqueeze, …   →  nothing, if the original shape is restored
                                                →  one Reshape, if its target is a constant
    Transpose ∘ Transpose                       →  one, or nothing
    Reshape ∘ Transpose that moves axes of 1    →  Reshape ∘ Reshape
    Cast ∘ Cast                                 →  the last, if the first is lossless
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto as T

from onnx_compress.compiler.ir import edit, ops
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.fold_shapes import reshape_target
from onnx_compress.passes.simplify._rules.rule import forward

_INTEGERS: dict[int, int] = {T.INT8: 8, T.INT16: 16, T.INT32: 32, T.INT64: 64}
_NATURALS: dict[int, int] = {T.UINT8: 8, T.UINT16: 16, T.UINT32: 32, T.UINT64: 64}
_EXACT_INTEGERS: dict[int, int] = {T.FLOAT16: 11, T.BFLOAT16: 8, T.FLOAT: 24, T.DOUBLE: 53}
"""Float types, and the number of bits of an integer that they represent exactly."""
_WIDER_FLOATS = {(T.FLOAT16, T.FLOAT), (T.FLOAT16, T.DOUBLE), (T.BFLOAT16, T.FLOAT), (T.BFLOAT16, T.DOUBLE)} | {
    (T.FLOAT, T.DOUBLE)
}


def merge_chains(model: Model, ctx: Context, facts: Facts) -> int:
    """Merge each node into the one before it if both rearrange, or both convert."""
    changed = 0
    for node in model.nodes():
        before = node.inputs[0].inputs[0] if node.inputs and node.inputs[0].inputs else None
        if before is None or before.graph is not node.graph:
            continue
        if _reshapes(node) and _reshapes(before):
            changed += _merge_shapers(model, facts, node, before)
        elif node.is_op("Transpose") and before.is_op("Transpose"):
            changed += _merge_transposes(model, facts, node, before)
        elif _reshapes(node) and before.is_op("Transpose"):
            changed += _moves_nothing(before, facts) and _reshape_once(model, facts, node, before)
        elif node.is_op("Cast") and before.is_op("Cast"):
            changed += _merge_casts(model, facts, node, before)
    return changed


def _reshapes(node: Node) -> bool:
    return ops.of(node).movement is ops.Movement.RESHAPES


def _merge_shapers(model: Model, facts: Facts, node: Node, before: Node) -> int:
    source: Tensor = before.inputs[0]
    while not facts.same_shape(source, node.outputs[0]):
        if not source.inputs or not _reshapes(source.inputs[0]):
            return _reshape_once(model, facts, node, before)
        source = source.inputs[0].inputs[0]
    return forward(model, facts, node, source)


def _reshape_once(model: Model, facts: Facts, node: Node, before: Node) -> int:
    source, shape = before.inputs[0], facts.shape(node.outputs[0])
    if shape is None or model.opset < 5 or not facts.is_alone(before.outputs[0]):
        return 0
    target = reshape_target(facts.shape(source), shape)
    if target is None or any(dim == 0 for dim in shape):
        return 0
    values = np.asarray(target, np.int64)
    constant = edit.add_constant(model, node.outputs[0].name, "shape", values, graph=node.graph)
    edit.retype(model, node, "Reshape", [source, constant])
    return 1


def _merge_transposes(model: Model, facts: Facts, node: Node, before: Node) -> int:
    first, second = permutation(before, facts), permutation(node, facts)
    if first is None or second is None or len(first) != len(second):
        return 0
    perm = tuple(first[axis] for axis in second)
    if perm == tuple(range(len(perm))):
        return forward(model, facts, node, before.inputs[0])
    edit.set_input(model, node, 0, before.inputs[0])
    edit.set_attr(model, node, "perm", perm)
    return 1


def _moves_nothing(node: Node, facts: Facts) -> bool:
    """Whether a Transpose only moves axes of length 1, so that the order of elements stays."""
    perm, shape = permutation(node, facts), facts.shape(node.inputs[0])
    if perm is None or shape is None:
        return False
    long_axes = [axis for axis in perm if shape[axis] != 1]
    return long_axes == sorted(long_axes)


def permutation(node: Node, facts: Facts) -> tuple[int, ...] | None:
    """The axes of a Transpose; None if the attribute is absent and the rank is unknown."""
    if "perm" in node.attrs:
        return tuple(node.attrs["perm"])
    shape = facts.shape(node.inputs[0])
    return None if shape is None else tuple(range(len(shape)))[::-1]


def _merge_casts(model: Model, facts: Facts, node: Node, before: Node) -> int:
    source = before.inputs[0]
    kind = facts.type(source)
    if kind is None or not loses_nothing(kind, before.attrs["to"]) or node.attrs["to"] == T.STRING:
        return 0
    if node.attrs["to"] == kind:
        return forward(model, facts, node, source)
    edit.set_input(model, node, 0, source)
    return 1


def loses_nothing(source: int, target: int) -> bool:
    """Whether Cast converts every value of element type `source` to `target` exactly."""
    if source == target or (source, target) in _WIDER_FLOATS:
        return True
    if source == T.BOOL:
        return target in _INTEGERS or target in _NATURALS or target in _EXACT_INTEGERS
    bits = _INTEGERS.get(source, 0) - 1 if source in _INTEGERS else _NATURALS.get(source, 0)
    if bits <= 0:
        return False
    if source in _NATURALS and target in _NATURALS:
        return bits <= _NATURALS[target]
    return bits <= max(_INTEGERS.get(target, 0) - 1, _EXACT_INTEGERS.get(target, 0))
