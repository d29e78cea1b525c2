"""Remove nodes whose output equals their input: same values, same shape, same type.

=====================================  ==========================================================
Identity, Dropout, Cast, CastLike      Dropout at inference with unused mask; to the same type
Transpose                              of no axis, or if only one axis is longer than 1
Reshape, Flatten, Squeeze, Unsqueeze,  if the shape stays the same
Expand, Tile
Slice, Pad, Resize, Split, Concat      of the whole, by nothing, by 1, into one, of one
Add, Sub, Mul, Div, Pow, And, Or       by a neutral constant that does not broadcast
Max, Min, Sum, Mean, Clip              of one input, without bounds
=====================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx_compress.compiler.ir.graph import Node, Shape, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts, has_input
from onnx_compress.passes.simplify._rules.rule import forward

FAR = 2**31 - 1
"""Exporters write this number or more for a slice without an end."""


def remove_identities(model: Model, ctx: Context, facts: Facts) -> int:
    """Make readers of an identity node read its input."""
    changed = 0
    for node in model.nodes():
        find = _SOURCES.get(node.op) if node.is_standard and node.inputs else None
        source = find(node, facts) if find is not None else None
        if source is not None and not any(out.outputs for out in node.outputs[1:]):
            changed += forward(model, facts, node, source)
    return changed


def _first(node: Node, facts: Facts) -> Tensor:
    return node.inputs[0]


def _dropout(node: Node, facts: Facts) -> Tensor | None:
    if any(out in facts.results for out in node.outputs[1:]) or _is_old_and_training(node, facts):
        return None
    if not has_input(node, 2):
        return node.inputs[0]
    training = facts.input_value(node, 2)
    return node.inputs[0] if training is not None and not training.any() else None


def _is_old_and_training(node: Node, facts: Facts) -> bool:
    return facts.model.opset < 7 and not node.attrs.get("is_test", 0)


def _cast(node: Node, facts: Facts) -> Tensor | None:
    return node.inputs[0] if facts.type(node.inputs[0]) == node.attrs.get("to") else None


def _cast_like(node: Node, facts: Facts) -> Tensor | None:
    kind = facts.type(node.inputs[0])
    return node.inputs[0] if kind is not None and kind == facts.type(node.inputs[1]) else None


def _transpose(node: Node, facts: Facts) -> Tensor | None:
    perm = node.attrs.get("perm")
    return node.inputs[0] if perm is not None and tuple(perm) == tuple(range(len(perm))) else None


def _same_shape(node: Node, facts: Facts) -> Tensor | None:
    return node.inputs[0] if facts.same_shape(node.inputs[0], node.outputs[0]) else None


def _reshape(node: Node, facts: Facts) -> Tensor | None:
    if facts.same_shape(node.inputs[0], node.outputs[0]):
        return node.inputs[0]
    shape, target = facts.shape(node.inputs[0]), facts.input_value(node, 1)
    if shape is None or target is None or node.attrs.get("allowzero") or len(target) != len(shape):
        return None
    kept = sum(int(t) in (0, dim) for t, dim in zip(target, shape, strict=True))
    return node.inputs[0] if kept == len(shape) or (kept == len(shape) - 1 and -1 in target) else None


def _tile(node: Node, facts: Facts) -> Tensor | None:
    return _if_all(node, facts.input_value(node, 1), 1)


def _expand(node: Node, facts: Facts) -> Tensor | None:
    shape, target = facts.shape(node.inputs[0]), facts.input_value(node, 1)
    if shape is not None and target is not None and len(target) <= len(shape) and (target == 1).all():
        return node.inputs[0]
    return _same_shape(node, facts)


def _if_all(node: Node, values: np.ndarray | None, expected: int) -> Tensor | None:
    return node.inputs[0] if values is not None and (values == expected).all() else None


def _slice(node: Node, facts: Facts) -> Tensor | None:
    if "starts" in node.attrs:
        starts, ends = np.asarray(node.attrs["starts"]), np.asarray(node.attrs["ends"])
        axes = np.asarray(node.attrs.get("axes", range(len(starts))))
    elif has_input(node, 2) and not (has_input(node, 4) and _if_all(node, facts.input_value(node, 4), 1) is None):
        first, last = facts.input_value(node, 1), facts.input_value(node, 2)
        given = facts.input_value(node, 3) if has_input(node, 3) else np.arange(0 if first is None else len(first))
        if first is None or last is None or given is None:
            return None
        starts, ends, axes = first, last, given
    else:
        return None
    shape = facts.shape(node.inputs[0])
    is_whole = all(s == 0 and _reaches(shape, int(a), int(e)) for s, e, a in zip(starts, ends, axes, strict=True))
    return node.inputs[0] if is_whole else None


def _reaches(shape: Shape | None, axis: int, end: int) -> bool:
    if end >= FAR:
        return True
    dim = shape[axis] if shape is not None else None
    return isinstance(dim, int) and end >= dim


def _pad(node: Node, facts: Facts) -> Tensor | None:
    pads = np.asarray(node.attrs["pads"]) if "pads" in node.attrs else facts.input_value(node, 1)
    return _if_all(node, pads, 0)


def _resize(node: Node, facts: Facts) -> Tensor | None:
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return None
    if node.op == "Upsample" and "scales" in node.attrs:
        return _if_all(node, np.asarray(node.attrs["scales"]), 1)
    slot = 1 if node.op == "Upsample" or facts.model.opset < 11 else 2
    if has_input(node, 3):  # sizes imply the scales; given scales need not be 1 for equal shapes
        return _same_shape(node, facts)
    return _if_all(node, facts.input_value(node, slot), 1)


def _split(node: Node, facts: Facts) -> Tensor | None:
    return node.inputs[0] if len(node.outputs) == 1 else None


def _concat(node: Node, facts: Facts) -> Tensor | None:
    if "new_axis" in node.attrs:
        return None
    return node.inputs[0] if len(node.inputs) == 1 else None


def _clip(node: Node, facts: Facts) -> Tensor | None:
    is_bounded = has_input(node, 1) or has_input(node, 2) or "min" in node.attrs or "max" in node.attrs
    return None if is_bounded else node.inputs[0]


def _neutral(expected: int, *, both_sides: bool) -> Callable[[Node, Facts], Tensor | None]:
    """For operators of two inputs whose output is the first if the second is `expected`."""

    def find(node: Node, facts: Facts) -> Tensor | None:
        if "axis" in node.attrs or len(node.inputs) != 2:
            return None
        for slot in (1, 0) if both_sides else (1,):
            other = node.inputs[1 - slot]
            values = facts.input_value(node, slot)
            if (
                values is not None
                and (values == expected).all()
                and _does_not_broadcast(values.shape, facts.shape(other))
            ):
                return other
        return None

    return find


def _does_not_broadcast(constant: tuple[int, ...], shape: Shape | None) -> bool:
    if constant == ():
        return True
    if shape is None or len(constant) > len(shape):
        return False
    return all(c in (1, dim) for c, dim in zip(constant[::-1], shape[::-1]))


_SOURCES: dict[str, Callable[[Node, Facts], Tensor | None]] = {
    "Identity": _first,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Transpose": _transpose,
    "Reshape": _reshape,
    **dict.fromkeys(("Flatten", "Squeeze", "Unsqueeze"), _same_shape),
    "Expand": _expand,
    "Tile": _tile,
    "Slice": _slice,
    "Pad": _pad,
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Split": _split,
    **dict.fromkeys(("Concat", "Max", "Min", "Sum", "Mean"), _concat),
    "Clip": _clip,
    **dict.fromkeys(("Add", "Or"), _neutral(0, both_sides=True)),
    "Mul": _neutral(1, both_sides=True),
    "And": _neutral(1, both_sides=True),
    "Sub": _neutral(0, both_sides=False),
    **dict.fromkeys(("Div", "Pow"), _neutral(1, both_sides=False)),
}
