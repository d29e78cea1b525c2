"""Operators that concatenate axes or select parts of them: Concat, Split, Slice, Gather, Pad, Tile, Resize."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.channels.mends import Count, Renumber, Sizes
from onnx_compress.compiler.analysis.channels.rules.elementwise import sizes_of
from onnx_compress.compiler.analysis.channels.walk import SINGLE, Axis, Fixed, Rule, Walk
from onnx_compress.compiler.ir.graph import Dim, Node


def concat(walk: Walk, node: Node) -> None:
    """One axis is the concatenation of the inputs' axes; the others are the same in all inputs."""
    reads = [walk.read(node, slot) for slot in range(len(node.inputs))]
    rank = len(reads[0])
    if rank == 0 or any(len(axes) != rank for axes in reads):
        walk.give_up(node, "its rank is unknown")
        return
    at = node.attrs.get("axis", 0) % rank
    result: list[Axis] = [
        _end_to_end(walk, node, reads, at) if i == at else walk.join([axes[i] for axes in reads], node)
        for i in range(rank)
    ]
    walk.write(node.outputs[0], result)


def _end_to_end(walk: Walk, node: Node, reads: list[list[Axis]], at: int) -> Axis:
    parts = [axes[at] for axes in reads]
    if not any(isinstance(part, np.ndarray) for part in parts):
        return parts[0] if parts[0] is not SINGLE else Fixed(f"it is concatenated by {node.label()}")
    sizes: list[Dim] = [sizes_of(walk, tensor, axes)[at] for tensor, axes in zip(node.inputs, reads)]
    if any(not isinstance(size, int) for size in sizes):
        why = f"{node.label()} joins it with an axis of unknown length"
        walk.fix_tensor(parts, why)
        return Fixed(why)
    return np.concatenate([_vector(walk, part, size) for part, size in zip(parts, sizes)])


def _vector(walk: Walk, axis: Axis, size: Dim) -> np.ndarray:
    """The axis as atoms; an axis fixed as a whole becomes fixed atoms."""
    if isinstance(axis, np.ndarray):
        return axis
    assert isinstance(size, int)
    atoms = walk.atoms.new(size)
    walk.atoms.fix(atoms, axis.why)
    return atoms


def split(walk: Walk, node: Node) -> None:
    """Consecutive parts of one axis."""
    axes = walk.read(node, 0)
    if not axes:
        walk.give_up(node, "its rank is unknown")
        return
    at = node.attrs.get("axis", 0) % len(axes)
    whole = axes[at]
    if not isinstance(whole, np.ndarray):
        for out in node.outputs:
            walk.write(out, [*axes[:at], whole if walk.size(out, at) != 1 else SINGLE, *axes[at + 1 :]])
        return
    sizes = walk.integers.list_of(node, 1, "split")
    if sizes is None and not walk.has(node, 1):
        step = -(-len(whole) // len(node.outputs))
        sizes = [min(step, len(whole) - step * i) for i in range(len(node.outputs))]
    if sizes is None or sum(sizes) != len(whole):
        walk.give_up(node, "its sizes are unknown")
        return
    parts = np.split(whole, np.cumsum(sizes)[:-1])
    for out, part in zip(node.outputs, parts):
        walk.write(out, [*axes[:at], _kept_single(walk, node, part), *axes[at + 1 :]])
    walk.mend(Sizes(node, tuple(parts)))


def _kept_single(walk: Walk, node: Node, part: np.ndarray) -> Axis:
    """A part of one element must stay, because it broadcasts."""
    if len(part) != 1:
        return part
    walk.fix(part, f"{node.label()} extracts a single element of it")
    return SINGLE


def slice_(walk: Walk, node: Node) -> None:
    """A range of some axes; the bounds on a channel axis count the kept channels before them."""
    axes = walk.read(node, 0)
    bounds = _bounds(walk, node, len(axes))
    if bounds is None:
        given = walk.integers.list_of(node, 3, "axes")
        touched = axes if given is None else [axes[a % len(axes)] for a in given]
        why = f"the bounds of {node.label()} are unknown"
        walk.fix_tensor(touched, why)
        keep = set(range(len(axes))) - ({a % len(axes) for a in given} if given is not None else set(range(len(axes))))
        walk.write(node.outputs[0], [axis if i in keep else Fixed(why) for i, axis in enumerate(axes)])
        return
    result = list(axes)
    for position, (at, start, end, step) in enumerate(bounds):
        result[at] = _range(walk, node, axes[at], (start, end, step), position)
        if isinstance(result[at], Fixed) and walk.size(node.outputs[0], at) == 1:
            result[at] = SINGLE
    walk.write(node.outputs[0], result)


def _bounds(walk: Walk, node: Node, rank: int) -> list[tuple[int, int, int, int]] | None:
    """(axis, start, end, step) in the order of the inputs; None if they depend on the model's input."""
    starts = walk.integers.list_of(node, 1, "starts")
    ends = walk.integers.list_of(node, 2, "ends")
    axes = walk.integers.list_of(node, 3, "axes")
    steps = walk.integers.list_of(node, 4)
    if starts is None or ends is None or (axes is None and walk.has(node, 3)) or (steps is None and walk.has(node, 4)):
        return None
    axes = list(range(len(starts))) if axes is None else [axis % rank for axis in axes]
    return list(zip(axes, starts, ends, steps or [1] * len(starts)))


def _range(walk: Walk, node: Node, axis: Axis, bounds: tuple[int, int, int], position: int) -> Axis:
    if not isinstance(axis, np.ndarray):
        return axis
    start, end, step = slice(*bounds).indices(len(axis))
    if step != 1:
        walk.fix(axis, f"{node.label()} slices it with step {step}")
        return Fixed(f"{node.label()} slices it with step {step}")
    if (start, end) == (0, len(axis)):
        return axis
    for where, name, before in ((1, "starts", axis[:start]), (2, "ends", axis[:end])):
        walk.mend(Count(node, name if name in node.attrs else where, position, before, whole=axis))
    return _kept_single(walk, node, axis[start:end])


def gather(walk: Walk, node: Node) -> None:
    """One axis is replaced by the axes of the indices."""
    data = walk.read(node, 0)
    if not data:
        walk.give_up(node, "its rank is unknown")
        return
    at = node.attrs.get("axis", 0) % len(data)
    indices = walk.integers.of(node.inputs[1])
    shape = walk.shape(node.inputs[1])
    if shape is None:
        walk.give_up(node, "the rank of its indices is unknown")
        return
    axis = data[at]
    chosen: list[Axis] = [SINGLE if size == 1 else Fixed(f"it counts the indices of {node.label()}") for size in shape]
    if isinstance(axis, np.ndarray):
        if (
            walk.integers.list_of(node, 1) is not None
            and indices is not None
            and indices.ndim == 1
            and indices.size > 1
        ):
            chosen = [axis[indices]]
            walk.mend(Renumber(node, 1, axis))
        else:
            walk.fix(axis, f"{node.label()} looks up positions of it")
    sizes = sizes_of(walk, node.inputs[0], data)
    walk.learn(node.outputs[0], [*sizes[:at], *shape, *sizes[at + 1 :]])
    walk.write(node.outputs[0], [*data[:at], *chosen, *data[at + 1 :]])


def pad(walk: Walk, node: Node) -> None:
    """New positions at both ends; on a channel axis they can be removed like any other."""
    axes = walk.read(node, 0)
    rank = len(axes)
    pads = walk.integers.list_of(node, 1, "pads")
    given = walk.integers.list_of(node, 3)
    if pads is None or (given is None and walk.has(node, 3)):
        walk.fix_tensor(axes, f"the pads of {node.label()} are unknown")
        walk.write(node.outputs[0], [Fixed(f"the pads of {node.label()} are unknown")] * rank)
        return
    at = range(rank) if given is None else [axis % rank for axis in given]
    result = list(axes)
    for position, axis in enumerate(at):
        amounts = (pads[position], pads[position + len(at)])
        result[axis] = _padded(walk, node, axes[axis], amounts, (position, position + len(at)))
    walk.write(node.outputs[0], result)


def _padded(walk: Walk, node: Node, axis: Axis, amounts: tuple[int, int], positions: tuple[int, int]) -> Axis:
    if amounts == (0, 0):
        return axis
    if not isinstance(axis, np.ndarray):
        return Fixed(f"{node.label()} pads it")
    if min(amounts) < 0 or node.attrs.get("mode", "constant") not in ("constant", b"constant"):
        walk.fix(axis, f"{node.label()} mirrors or crops it")
        return Fixed(f"{node.label()} mirrors or crops it")
    ends = [walk.atoms.new(amount) for amount in amounts]
    for position, end in zip(positions, ends):
        walk.mend(Count(node, "pads" if "pads" in node.attrs else 1, position, end))
    return np.concatenate([ends[0], axis, ends[1]])


def tile(walk: Walk, node: Node) -> None:
    """Each axis is repeated as a whole."""
    axes = walk.read(node, 0)
    repeats = walk.integers.of(node.inputs[1])
    result: list[Axis] = []
    for i, axis in enumerate(axes):
        times = None if repeats is None else int(repeats[i])
        if times == 1:
            result.append(axis)
        elif isinstance(axis, np.ndarray) and times is not None and times > 0:
            result.append(np.tile(axis, times))
        else:
            walk.fix(axis, f"{node.label()} repeats it an unknown number of times")
            result.append(Fixed(f"{node.label()} repeats it"))
    walk.write(node.outputs[0], result)


def resize(walk: Walk, node: Node) -> None:
    """Spatial axes change their size; a resized channel axis is fixed."""
    axes = walk.read(node, 0)
    sizes = _sizes_given(walk, node)
    listed = list(node.attrs["axes"]) if "axes" in node.attrs else list(range(len(axes)))
    result: list[Axis] = [Fixed(f"it is a spatial axis of {node.label()}")] * len(axes)
    for i, axis in enumerate(axes):
        if i in listed and isinstance(axis, np.ndarray):
            if walk.size(node.outputs[0], i) not in (len(axis), None):
                walk.fix(axis, f"{node.label()} resizes it")
                continue
            if sizes is not None:
                walk.mend(Count(node, sizes, listed.index(i), axis))
        result[i] = axis if isinstance(axis, np.ndarray) or i < 2 else result[i]
    walk.write(node.outputs[0], result)


def _sizes_given(walk: Walk, node: Node) -> int | None:
    return 3 if walk.has(node, 3) else None


RULES: dict[str, Rule] = {
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Pad": pad,
    "Tile": tile,
    "Resize": resize,
    "Upsample": resize,
}
