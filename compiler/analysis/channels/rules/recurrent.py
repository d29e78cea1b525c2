"""LSTM, GRU and RNN: one hidden size for all gates, both directions and all states."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.channels.mends import Count
from onnx_compress.compiler.analysis.channels.rules.products import located
from onnx_compress.compiler.analysis.channels.walk import SINGLE, Axis, Fixed, Rule, Walk
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node

PEEPHOLES = 3


def recurrent(walk: Walk, node: Node) -> None:
    """W [D, gates·H, I], R [D, gates·H, H], B [D, 2·gates·H], states [D, N, H], P [D, 3·H].

    Unit h is row h of every gate in W, R and B, column h of R, and element h of each state, in both
    directions: a unit whose rows are zero stays at 0 when it starts there.
    """
    gates = ops.of(node).gates
    x = walk.read(node, 0)
    w = walk.read(node, 1, (None, "out", "in"))
    r = walk.read(node, 2, (None, "out", "in"))
    if len(x) != 3 or len(w) != 3 or len(r) != 3 or not isinstance(r[2], np.ndarray):
        walk.give_up(node, "its weights are computed or its hidden size is 1")
        return
    hidden = r[2]
    walk.join([x[2], w[2]], node)
    walk.join([w[1], np.tile(hidden, gates)], node)
    walk.join([r[1], np.tile(hidden, gates)], node)
    if walk.has(node, 3):
        walk.join([walk.read(node, 3, (None, "shift"))[1], np.tile(hidden, 2 * gates)], node)
    is_batch_first = bool(node.attrs.get("layout", 0))
    for slot in (5, 6) if node.op == "LSTM" else (5,):
        if walk.has(node, slot):
            state = walk.read(node, slot)
            walk.join([*state[-1:], hidden], node)
    if walk.has(node, 7):
        walk.join([walk.read(node, 7, (None, "shift"))[1], np.tile(hidden, PEEPHOLES)], node)
    walk.mend(Count(node, "hidden_size", None, hidden))
    _results(walk, node, x, hidden, is_batch_first)
    steps = located(x[:2], node.inputs[0])
    for weight, slot in ((w, 1), (r, 2)):
        walk.work(node, [*located(weight, node.inputs[slot]), *steps])


def _results(walk: Walk, node: Node, x: list[Axis], hidden: np.ndarray, is_batch_first: bool) -> None:
    directions: Axis = (
        Fixed(f"it counts the directions of {node.label()}")
        if node.attrs.get("direction") == "bidirectional"
        else SINGLE
    )
    first, second = x[0], x[1]
    whole = [first, second, directions, hidden] if is_batch_first else [first, directions, second, hidden]
    last = [first, directions, hidden] if is_batch_first else [directions, second, hidden]
    for i, out in enumerate(node.outputs):
        walk.write(out, whole if i == 0 else last)


RULES: dict[str, Rule] = {"LSTM": recurrent, "GRU": recurrent, "RNN": recurrent}
