"""Normalizations, softmax, pools and reductions."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.channels.mends import Count
from onnx_compress.compiler.analysis.channels.walk import SINGLE, Axis, Fixed, Rule, Walk
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node


def per_channel(walk: Walk, node: Node) -> None:
    """BatchNormalization, InstanceNormalization: scale, shift and statistics per channel of axis 1."""
    x = walk.read(node, 0)
    roles = ["scale", "shift", "statistic", "statistic"]
    vectors = [walk.read(node, slot, (roles[slot - 1],))[0] for slot in range(1, len(node.inputs))]
    channels = walk.join([x[1] if len(x) > 1 else SINGLE, *vectors], node)
    walk.write(node.outputs[0], [*x[:1], channels, *x[2:]])


def group_normalization(walk: Walk, node: Node) -> None:
    """Statistics per group of channels; scale and shift per channel, before opset 21 per group."""
    x = walk.read(node, 0)
    if len(x) < 2 or not isinstance(x[1], np.ndarray):
        walk.give_up(node, "its channels are fixed")
        return
    groups = node.attrs["num_groups"]
    members = len(x[1]) // groups
    scales = [walk.read(node, slot, (role,))[0] for slot, role in ((1, "scale"), (2, "shift"))]
    parts: list[Axis] = walk.take_apart(node, x[1], (groups, members)) if groups > 1 else [SINGLE, x[1]]
    of_groups = all(isinstance(s, Fixed) or len(s) == groups for s in scales) and members > 1
    walk.join([parts[0] if of_groups else x[1], *scales], node)
    if isinstance(parts[0], np.ndarray):
        walk.mend(Count(node, "num_groups", None, parts[0]))
    if members > 1 and isinstance(parts[1], np.ndarray):
        walk.atoms.couple(x[1], f"{node.label()} normalizes over it")
    walk.write(node.outputs[0], x)


def layer_normalization(walk: Walk, node: Node) -> None:
    """Statistics over all axes from `axis` on: removing a channel changes the statistics of the others."""
    x = walk.read(node, 0)
    if not x:
        walk.give_up(node, "its rank is unknown")
        return
    at = node.attrs.get("axis", -1) % len(x)
    result = list(x)
    for slot, role in ((1, "scale"), (2, "shift")):
        if not walk.has(node, slot):
            continue
        vector = walk.read(node, slot, [role] * (len(x) - at))
        for i in range(1, len(vector) + 1):
            if vector[-i] is not SINGLE:
                result[-i] = walk.join([result[-i], vector[-i]], node)
    for axis in result[at:]:
        _couple(walk, axis, f"{node.label()} normalizes over it")
    walk.write(node.outputs[0], result)
    for out in node.outputs[1:]:
        walk.write(out, [*x[:at], *[SINGLE for _ in x[at:]]])


def _couple(walk: Walk, axis: Axis, why: str) -> None:
    if isinstance(axis, np.ndarray):
        walk.atoms.couple(axis, why)


def along_axis(default: int) -> Rule:
    """A rule for operators that compute along one axis, which therefore must stay."""

    def rule(walk: Walk, node: Node) -> None:
        axes = list(walk.read(node, 0))
        if axes:
            at = _axis_of(walk, node, default)
            why = f"{node.label()} computes along it"
            for i in range(len(axes)) if at is None else [at % len(axes)]:
                walk.fix(axes[i], why)
                axes[i] = Fixed(why)
        walk.write(node.outputs[0], axes)

    return rule


def _axis_of(walk: Walk, node: Node, default: int) -> int | None:
    if "axis" in node.attrs:
        return int(node.attrs["axis"])
    if node.op != "CumSum":
        return default
    given = walk.integers.list_of(node, 1)
    return given[0] if given else None


def neighbours(walk: Walk, node: Node) -> None:
    """LRN divides each channel by a sum over its neighbours."""
    axes = walk.read(node, 0)
    walk.fix_tensor(axes[1:2], f"{node.label()} sums over neighbouring channels")
    walk.write(node.outputs[0], axes)


def pool(walk: Walk, node: Node) -> None:
    """Batch and channel axes stay, spatial axes change."""
    x = walk.read(node, 0)
    spatial = Fixed(f"it is a spatial axis of {node.label()}")
    for axis in x[2:]:
        walk.fix(axis, spatial.why)
    for out in node.outputs:
        rest: list[Axis] = [SINGLE if walk.size(out, i) == 1 else spatial for i in range(2, len(x))]
        walk.write(out, [*x[:2], *rest])


def global_pool(walk: Walk, node: Node) -> None:
    """Spatial axes shrink to one element."""
    x = walk.read(node, 0)
    for axis in x[2:]:
        walk.fix(axis, f"it is a spatial axis of {node.label()}")
    walk.write(node.outputs[0], [*x[:2], *[SINGLE for _ in x[2:]]])


def reduce(walk: Walk, node: Node) -> None:
    """A reduced axis can lose channels, but sums, means and maxima then change."""
    x = walk.read(node, 0)
    given = walk.integers.list_of(node, 1, "axes")
    if given is None and walk.has(node, 1):
        walk.give_up(node, "its axes are unknown")
        return
    if not x:
        walk.give_up(node, "its rank is unknown")
        return
    if given is None and node.attrs.get("noop_with_empty_axes"):
        walk.write(node.outputs[0], x)
        return
    gone = {axis % len(x) for axis in given} if given is not None else set(range(len(x)))
    for i in gone:
        _couple(walk, x[i], f"{node.label()} reduces it")
    keeps = node.attrs.get("keepdims", 1)
    walk.write(node.outputs[0], [SINGLE if i in gone else x[i] for i in range(len(x)) if keeps or i not in gone])


def arg_reduce(walk: Walk, node: Node) -> None:
    """ArgMax, ArgMin: positions along an axis, which must stay."""
    x = walk.read(node, 0)
    if not x:
        walk.give_up(node, "its rank is unknown")
        return
    at = node.attrs.get("axis", 0) % len(x)
    walk.fix(x[at], f"{node.label()} returns its positions")
    keeps = node.attrs.get("keepdims", 1)
    walk.write(node.outputs[0], [SINGLE if i == at else x[i] for i in range(len(x)) if keeps or i != at])


def trilu(walk: Walk, node: Node) -> None:
    """A triangle of the last two axes."""
    x = walk.read(node, 0)
    walk.fix_tensor(x[-2:], f"{node.label()} keeps a triangle of it")
    walk.write(node.outputs[0], x)


RULES: dict[str, Rule] = {
    "BatchNormalization": per_channel,
    "InstanceNormalization": per_channel,
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": layer_normalization,
    "SimplifiedLayerNormalization": layer_normalization,
    "Softmax": along_axis(-1),
    "LogSoftmax": along_axis(-1),
    "Hardmax": along_axis(-1),
    "CumSum": along_axis(0),
    "LpNormalization": along_axis(-1),
    "LRN": neighbours,
    "MaxPool": pool,
    "AveragePool": pool,
    "LpPool": pool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "GlobalLpPool": global_pool,
    **dict.fromkeys(ops.names(lambda op: op.family is ops.Family.REDUCTION), reduce),
    "ArgMax": arg_reduce,
    "ArgMin": arg_reduce,
    "Trilu": trilu,
}
