"""If, Loop and Scan: the axes of values that enter a body, are carried between iterations, and leave it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_compress.compiler.analysis.channels.walk import SINGLE, Axis, Fixed, Rule, Walk
from onnx_compress.compiler.ir.graph import Graph, Node, Tensor, Variable

LOOP_OWN = 2
"""Inputs before a Loop's carried values: trip count and condition; in its body, iteration number and condition."""
SCAN_SINCE = 9
"""Before this opset, Scan had a batch axis and optional lengths."""


def if_(walk: Walk, node: Node) -> None:
    """The branches see outer values, and the result's axes are the branches' axes."""
    walk.fix_tensor(walk.read(node, 0), f"it controls {node.label()}")
    branches = list(node.bodies())
    for branch in branches:
        walk.enter(branch)
    for i, out in enumerate(node.outputs):
        results = [branch.outputs[i] for branch in branches]
        _leave(walk, node, out, [result_axes(walk, node, tensor) for tensor in results])


def loop(walk: Walk, node: Node) -> None:
    """Carried values have the same axes before, inside and after; stacked outputs have one more axis in front."""
    body = next(node.bodies())
    for tensor in body.inputs[:LOOP_OWN]:
        _forget(walk, node, tensor)
    for slot in range(min(LOOP_OWN, len(node.inputs))):
        if walk.has(node, slot):
            walk.fix_tensor(walk.read(node, slot), f"it controls {node.label()}")
    states = len(node.inputs) - LOOP_OWN
    before = [_enter(walk, node, LOOP_OWN + i, body.inputs[LOOP_OWN + i]) for i in range(states)]
    walk.enter(body)
    walk.fix_tensor(walk.axes.get(body.outputs[0]), f"it controls {node.label()}")
    _carried(walk, node, body, LOOP_OWN, before, body.outputs[1 : 1 + states])
    for out, tensor in zip(node.outputs[states:], body.outputs[1 + states :]):
        inner = result_axes(walk, node, tensor)
        _leave(walk, node, out, [None if inner is None else [Fixed(f"{node.label()} stacks outputs along it"), *inner]])


def scan(walk: Walk, node: Node) -> None:
    """As Loop; inside the body, a scanned value lacks the axis that Scan iterates over."""
    body = next(node.bodies())
    scanned = int(node.attrs["num_scan_inputs"])
    if walk.opset < SCAN_SINCE:
        walk.give_up(node, "no rule for this form of Scan")
        return
    states = len(node.inputs) - scanned
    before = [_enter(walk, node, i, body.inputs[i]) for i in range(states)]
    along = node.attrs.get("scan_input_axes") or (0,) * scanned
    for i, axis in enumerate(along):
        _enter(walk, node, states + i, body.inputs[states + i], axis)
    walk.enter(body)
    _carried(walk, node, body, 0, before, body.outputs[:states])
    collected = list(zip(node.outputs[states:], body.outputs[states:]))
    where = node.attrs.get("scan_output_axes") or (0,) * len(collected)
    for (out, tensor), axis in zip(collected, where):
        inner = result_axes(walk, node, tensor)
        if inner is not None:
            at = axis % (len(inner) + 1)
            inner = [*inner[:at], Fixed(f"{node.label()} stacks outputs along it"), *inner[at:]]
        _leave(walk, node, out, [inner])


def result_axes(walk: Walk, node: Node, tensor: Tensor) -> list[Axis] | None:
    """The axes of a body's output; fixed for a constant; None if the rank is unknown."""
    shape = walk.shape(tensor)
    if tensor in walk.axes:
        return None if shape is None else walk.axes[tensor]
    why = f"{node.label()} outputs a constant"
    return None if shape is None else [SINGLE if size == 1 else Fixed(why) for size in shape]


def _enter(walk: Walk, node: Node, slot: int, inner: Tensor, along: int | None = None) -> list[Axis]:
    """Give a body's input the axes of the entering value, without the axis that a Scan iterates over."""
    axes = list(walk.read(node, slot))
    if along is not None and axes:
        walk.fix(axes.pop(along % len(axes)), f"{node.label()} iterates over it")
    shape = walk.shape(inner)
    if shape is None or len(shape) != len(axes) or walk.shape(node.inputs[slot]) is None:
        walk.fix_tensor(axes, f"{node.label()} changes its rank")
        _forget(walk, node, inner)
    else:
        walk.write(inner, axes)
    return axes


def _forget(walk: Walk, node: Node, tensor: Tensor) -> None:
    if isinstance(tensor, Variable):
        walk.forget(tensor, f"body input '{tensor.name}' of {node.label()}")


def _carried(
    walk: Walk, node: Node, body: Graph, first: int, before: Sequence[list[Axis]], results: Sequence[Tensor]
) -> None:
    """Unite the axes of carried values at the end and the start of an iteration; freeze the body if they differ."""
    after = [result_axes(walk, node, tensor) for tensor in results]
    for i, result in enumerate(results):
        stages = (node.inputs[first + i], body.inputs[first + i], result)
        if len({_ones(walk, tensor) for tensor in stages}) > 1:
            walk.freeze(body, f"its shape changes between iterations of {node.label()}")
    for out, old, new in zip(node.outputs, before, after):
        _leave(walk, node, out, [old, new])


def _ones(walk: Walk, tensor: Tensor) -> tuple[bool, ...] | None:
    """Which axes have one element: these broadcast, so they must be the same in every iteration."""
    shape = walk.shape(tensor)
    return None if shape is None else tuple(size == 1 for size in shape)


def _leave(walk: Walk, node: Node, out: Tensor, sides: Sequence[list[Axis] | None]) -> None:
    """Set a result's axes to the union of all `sides`; if their ranks differ, nothing is known."""
    known = [side for side in sides if side is not None]
    ranks = {len(side) for side in known}
    if len(known) < len(sides) or len(ranks) > 1 or not known:
        for side in known:
            walk.fix_tensor(side, f"{node.label()} has results of several ranks")
        walk.forget(out, f"computed by {node.label()}")
        return
    walk.write(out, [_same(walk, node, column) for column in zip(*known)])
    if walk.shape(out) is None:
        walk.learn(out, [len(axis) if isinstance(axis, np.ndarray) else None for axis in walk.axes[out]])


def _same(walk: Walk, node: Node, column: tuple[Axis, ...]) -> Axis:
    if all(axis is SINGLE for axis in column):
        return SINGLE
    unsure = Fixed(f"its length depends on {node.label()}")
    return walk.join([unsure if axis is SINGLE else axis for axis in column], node)


RULES: dict[str, Rule] = {"If": if_, "Loop": loop, "Scan": scan}
