"""Element-wise operators, with NumPy's broadcasting."""

from __future__ import annotations

import numpy as np
import onnx

from onnx_compress.compiler.analysis.channels.integers import UNKNOWN
from onnx_compress.compiler.analysis.channels.mends import Freeze
from onnx_compress.compiler.analysis.channels.walk import SINGLE, Axis, Rule, Walk
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Dim, Node


def pass_on(walk: Walk, node: Node) -> None:
    """The result has the axes of the first input."""
    walk.write(node.outputs[0], walk.read(node, 0))


def dropout(walk: Walk, node: Node) -> None:
    """Data and mask have the axes of the input."""
    for out in node.outputs:
        walk.write(out, walk.read(node, 0))


def cast(walk: Walk, node: Node) -> None:
    """As `pass_on`; a number computed from a shape keeps its value if it becomes a floating-point number."""
    values = walk.integers.of(node.inputs[0])
    to_float = node.attrs.get("to") in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    if to_float and node.inputs[0] in walk.integers.sources:
        known = None if values is None else values != UNKNOWN
        if values is not None and known is not None and known.all():
            walk.mend(Freeze(node, 0, values))
        elif known is None or known.any():
            walk.fix_sources(node, 0)
    pass_on(walk, node)


def broadcast(walk: Walk, node: Node) -> None:
    """Axes are aligned at the right; a single element applies to all positions of its axis."""
    slots = [slot for slot in range(len(node.inputs)) if walk.has(node, slot)]
    walk.write(node.outputs[0], broadcast_axes(walk, node, slots))


def broadcast_axes(walk: Walk, node: Node, slots: list[int], skip: int = 0) -> list[Axis]:
    """The broadcast axes of the inputs at `slots`, without the last `skip` axes of each."""
    found = [(walk.read(node, slot), node.inputs[slot]) for slot in slots]
    sides = [list(zip(axes, sizes_of(walk, tensor, axes)))[: max(len(axes) - skip, 0)] for axes, tensor in found]
    rank = max(len(side) for side in sides)
    padded = [[(SINGLE, 1)] * (rank - len(side)) + side for side in sides]
    return [_meet(walk, node, list(column)) for column in zip(*padded)]


def sizes_of(walk: Walk, tensor: object, axes: list[Axis]) -> list[Dim]:
    """The lengths of a tensor's axes: of tracked ones their own, of others those from shape inference."""
    return [
        len(axis) if isinstance(axis, np.ndarray) else walk.size(tensor, i)  # type: ignore[arg-type]
        for i, axis in enumerate(axes)
    ]


def _meet(walk: Walk, node: Node, column: list[tuple[Axis, Dim]]) -> Axis:
    wide = [axis for axis, size in column if size != 1]
    return walk.join(wide, node) if wide else SINGLE


def frozen(why: str) -> Rule:
    """A rule that fixes everything, for the given reason."""

    def rule(walk: Walk, node: Node) -> None:
        walk.give_up(node, why)

    return rule


def unknown(walk: Walk, node: Node) -> None:
    """The result does not depend on any channel."""
    for out in node.outputs:
        walk.forget(out, f"computed by {node.label()}")


RULES: dict[str, Rule] = {
    **dict.fromkeys(ops.names(lambda op: op.family is ops.Family.UNARY), pass_on),
    **dict.fromkeys(ops.names(lambda op: op.family is ops.Family.BROADCAST), broadcast),
    **dict.fromkeys(ops.names(lambda op: op.is_quantized), frozen("it is already quantized")),
    "Cast": cast,
    "Dropout": dropout,
    "Shape": unknown,
    "Size": unknown,
    "Range": unknown,
}
