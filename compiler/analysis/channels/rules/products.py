"""Operators linear in a weight: convolutions, matrix products, Einsum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_compress.compiler.analysis.channels.mends import Count
from onnx_compress.compiler.analysis.channels.rules.elementwise import broadcast_axes, sizes_of
from onnx_compress.compiler.analysis.channels.walk import SINGLE, Axis, Fixed, Rule, Walk
from onnx_compress.compiler.ir.graph import Node, Tensor


def conv(walk: Walk, node: Node) -> None:
    """Y[n, o] = Σ_i W[o, i] ∗ X[n, i] within each group."""
    _convolve(walk, node, out_axis=0, in_axis=1)


def conv_transpose(walk: Walk, node: Node) -> None:
    """As Conv, with the weight's first two axes swapped: (C, O / groups, …)."""
    _convolve(walk, node, out_axis=1, in_axis=0)


def _convolve(walk: Walk, node: Node, out_axis: int, in_axis: int) -> None:
    x = walk.read(node, 0)
    roles = ("out", "in") if out_axis == 0 else ("in", "out")
    weight = walk.read(node, 1, roles)
    for axis in (*x[2:], *weight[2:]):
        walk.fix(axis, f"it is a spatial axis of {node.label()}")
    groups = node.attrs.get("group", 1)
    if len(x) < 2 or len(weight) < 2:
        walk.give_up(node, "its rank is unknown")
        return
    if groups == 1:
        walk.join([x[1], weight[in_axis]], node)
        out = weight[out_axis]
    else:
        out = _grouped(walk, node, x[1], weight, groups, plain=out_axis == 0)
    if walk.has(node, 2):
        out = walk.join([out, walk.read(node, 2, ("shift",))[0]], node)
    spatial = Fixed(f"it is a spatial axis of {node.label()}")
    walk.write(node.outputs[0], [x[0], out, *[spatial for _ in x[2:]]])
    places = node.outputs[0] if out_axis == 0 else node.inputs[0]
    walk.work(node, [*located(weight, node.inputs[1]), *((spatial, places, i) for i in range(2, len(x)))])


def located(axes: Sequence[Axis], tensor: Tensor) -> list[tuple[Axis, Tensor, int]]:
    """Each axis with its tensor and index."""
    return [(axis, tensor, i) for i, axis in enumerate(axes)]


def _grouped(walk: Walk, node: Node, x: Axis, weight: list[Axis], groups: int, *, plain: bool) -> Axis:
    """Either whole groups are removed, with their inputs and outputs, or the same member of every group.

    Conv's weight has all outputs and the inputs of one group; ConvTranspose's (not `plain`) has the reverse.
    """
    long, member = weight[0], weight[1]
    if plain:
        other, out = x, long
    else:
        long = walk.join([x, long], node)
        other = out = walk.atoms.new(groups * (len(member) if isinstance(member, np.ndarray) else 1))
    if not isinstance(long, np.ndarray) or not isinstance(other, np.ndarray):
        why = next(axis.why for axis in (long, other) if isinstance(axis, Fixed))
        walk.fix_tensor([long, other, member], why)
        return Fixed(why)
    _match_groups(walk, node, long, other, member, groups)
    return out


def _match_groups(walk: Walk, node: Node, long: np.ndarray, other: np.ndarray, member: Axis, groups: int) -> None:
    """`long` and `other` run over (group, member); `member` over the members of `other` in each group."""
    sizes = [(groups, len(axis) // groups) for axis in (long, other)]
    can_cut_inside = all(size > 1 for _, size in sizes)
    taken = walk.cut_of(node, 2) if can_cut_inside else 0
    if taken == 1:
        walk.take_apart(node, long, sizes[0], taken)
        walk.join([walk.take_apart(node, other, sizes[1], taken)[1], member], node)
        return
    walk.fix(member, f"{node.label()} is cut along its groups")
    first, second = (walk.take_apart(node, axis, size, 0)[0] for axis, size in zip((long, other), sizes))
    walk.join([first, second], node)
    if isinstance(first, np.ndarray):
        walk.mend(Count(node, "group", None, first))


def gemm(walk: Walk, node: Node) -> None:
    """Y = α A' B' + β C."""
    flip_a, flip_b = node.attrs.get("transA", 0), node.attrs.get("transB", 0)
    a = walk.read(node, 0, ("in", "out") if flip_a else ("out", "in"))
    b = walk.read(node, 1, ("out", "in") if flip_b else ("in", "out"))
    if len(a) != 2 or len(b) != 2:
        walk.give_up(node, "its rank is unknown")
        return
    rows, summed = a[::-1] if flip_a else a
    summed_too, columns = b[::-1] if flip_b else b
    _contract(walk, node, summed, summed_too)
    result = [rows, columns]
    if walk.has(node, 2):
        result = _with_bias(walk, node, result)
    walk.write(node.outputs[0], result)
    walk.work(node, [(rows, node.outputs[0], 0), *located(b, node.inputs[1])])


def _with_bias(walk: Walk, node: Node, result: list[Axis]) -> list[Axis]:
    rank = len(walk.shape(node.inputs[2]) or ())
    bias = walk.read(node, 2, ["shift"] * rank)
    sizes = sizes_of(walk, node.inputs[2], bias)
    for place in range(1, len(bias) + 1):
        if sizes[-place] != 1 and walk.size(node.outputs[0], 2 - place) != 1:
            result[-place] = walk.join([result[-place], bias[-place]], node)
    return result


def _contract(walk: Walk, node: Node, a: Axis, b: Axis) -> Axis:
    return SINGLE if a is SINGLE and b is SINGLE else walk.join([a, b], node)


def matmul(walk: Walk, node: Node) -> None:
    """Y[…, m, n] = Σ_k A[…, m, k] B[…, k, n], the leading axes broadcast."""
    shapes = [walk.shape(tensor) for tensor in node.inputs[:2]]
    if shapes[0] is None or shapes[1] is None or len(shapes[0]) == 0 or len(shapes[1]) == 0:
        walk.give_up(node, "its rank is unknown")
        return
    a = walk.read(node, 0, [""] * (len(shapes[0]) - 2) + ["out", "in"][-min(len(shapes[0]), 2) :])
    b = walk.read(node, 1, [""] * (len(shapes[1]) - 2) + ["in", "out"][: min(len(shapes[1]), 2)])
    if not a or not b:
        walk.give_up(node, "its rank is unknown")
        return
    summed = _contract(walk, node, a[-1], b[-2] if len(b) > 1 else b[-1])
    batch = _batch(walk, node, a, b)
    rows = a[-2:-1]
    columns = b[-1:] if len(b) > 1 else []
    walk.write(node.outputs[0], [*batch, *rows, *columns])
    walk.work(node, [*located([*batch, *rows, *columns], node.outputs[0]), (summed, node.inputs[0], len(a) - 1)])


def _batch(walk: Walk, node: Node, a: list[Axis], b: list[Axis]) -> list[Axis]:
    if len(a) <= 2 and len(b) <= 2:
        return []
    return broadcast_axes(walk, node, [0, 1], skip=2)


def einsum(walk: Walk, node: Node) -> None:
    """Each letter is one axis in all terms."""
    equation = str(node.attrs.get("equation", "")).replace(" ", "")
    terms, _, result = equation.partition("->")
    letters = terms.split(",")
    reads = [walk.read(node, slot) for slot in range(len(node.inputs))]
    simple = "->" in equation and "." not in equation and len(letters) == len(reads)
    if not simple or any(len(term) != len(axes) for term, axes in zip(letters, reads)):
        walk.give_up(node, "no rule for this form of Einsum")
        return
    found: dict[str, list[Axis]] = {}
    places: dict[str, tuple[Tensor, int]] = {}
    for term, axes, tensor in zip(letters, reads, node.inputs):
        for i, (letter, axis, size) in enumerate(zip(term, axes, sizes_of(walk, tensor, axes))):
            if size != 1:
                found.setdefault(letter, []).append(axis)
                places[letter] = (tensor, i)
    joined = {letter: walk.join(axes, node) for letter, axes in found.items()}
    walk.write(node.outputs[0], [joined.get(letter, SINGLE) for letter in result])
    walk.work(node, [(axis, *places[letter]) for letter, axis in joined.items()])


RULES: dict[str, Rule] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "Einsum": einsum,
}
