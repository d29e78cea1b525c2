"""Attention as one operator: a head is removed as a whole, in queries, keys, values and the result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_compress.compiler.analysis.channels.mends import Count
from onnx_compress.compiler.analysis.channels.walk import Axis, Fixed, Rule, Walk
from onnx_compress.compiler.ir.graph import Node

HEADS = ("q_num_heads", "kv_num_heads", "kv_num_heads")


def attention(walk: Walk, node: Node) -> None:
    """softmax(Q Kᵀ · scale) V per head, on [N, H, T, D] or [N, T, H · D].

    The width of a head stays, because the scale depends on it. Grouped queries (fewer heads of keys than of queries)
    are left alone, and so is a past or a mask with one entry per head.
    """
    reads = [walk.read(node, slot) for slot in range(3)]
    mask = walk.read(node, 3) if walk.has(node, 3) else []
    counts_heads = len(mask) > 2 and walk.size(node.inputs[3], -3) != 1
    if counts_heads or any(walk.has(node, slot) for slot in (4, 5)) or len(node.outputs) > 1:
        walk.give_up(node, "a past or a mask has one entry per head")
        return
    walk.fix_tensor(mask, f"{node.label()} uses it as a mask")
    if all(len(axes) == 4 for axes in reads):
        _apart(walk, node, reads)
    elif all(len(axes) == 3 for axes in reads) and node.attrs.get(HEADS[0]) == node.attrs.get(HEADS[1]):
        _packed(walk, node, reads)
    else:
        walk.give_up(node, "its queries are grouped")


def _apart(walk: Walk, node: Node, reads: Sequence[list[Axis]]) -> None:
    if len({walk.size(tensor, 1) for tensor in node.inputs[:3]}) > 1:
        walk.give_up(node, "its queries are grouped")
        return
    heads = walk.join([axes[1] for axes in reads], node)
    why = f"the scale of {node.label()} depends on it"
    walk.fix_tensor([axes[3] for axes in reads], why)
    walk.write(node.outputs[0], [reads[0][0], heads, reads[0][2], Fixed(why)])


def _packed(walk: Walk, node: Node, reads: Sequence[list[Axis]]) -> None:
    count = int(node.attrs[HEADS[0]])
    channels = [axes[2] for axes in reads]
    if any(not isinstance(axis, np.ndarray) for axis in channels):
        walk.give_up(node, "its channels are fixed")
        return
    whole = [axis for axis in channels if isinstance(axis, np.ndarray)]
    heads = [walk.take_apart(node, axis, (count, len(axis) // count), 0)[0] for axis in whole]
    joined = walk.join(heads, node)
    if isinstance(joined, np.ndarray):
        for name in dict.fromkeys(HEADS):
            walk.mend(Count(node, name, None, joined))
    walk.write(node.outputs[0], [*reads[0][:2], channels[2]])


RULES: dict[str, Rule] = {"Attention": attention}
