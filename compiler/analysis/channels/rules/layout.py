"""Operators that rearrange axes: Reshape and similar ones, Transpose, and DepthToSpace and SpaceToDepth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_compress.compiler.analysis.channels.factors import factorize
from onnx_compress.compiler.analysis.channels.integers import UNKNOWN
from onnx_compress.compiler.analysis.channels.mends import Count, Squeezed
from onnx_compress.compiler.analysis.channels.rules.elementwise import sizes_of
from onnx_compress.compiler.analysis.channels.walk import SINGLE, Axis, Fixed, Rule, Walk
from onnx_compress.compiler.ir.graph import Dim, Node

Sizes = Sequence[Dim]


def reshape(walk: Walk, node: Node) -> None:
    """Axes become products of factors; the numbers of the target shape follow the kept channels."""
    axes = walk.read(node, 0)
    before = sizes_of(walk, node.inputs[0], axes)
    after = target(walk, node, before)
    if after is None:
        walk.give_up(node, "its target shape is unknown")
        return
    walk.learn(node.outputs[0], after)
    result = regroup(walk, node, axes, before, after)
    walk.write(node.outputs[0], result)
    for position, axis in enumerate(result):
        if isinstance(axis, np.ndarray):
            walk.mend(Count(node, 1, position, axis, keep=(-1, 0)))


def target(walk: Walk, node: Node, before: Sizes) -> list[Dim] | None:
    """The shape that Reshape produces: from shape inference, and where that is silent from the target input."""
    inferred = walk.shape(node.outputs[0])
    given = walk.integers.of(node.inputs[1]) if walk.has(node, 1) else None
    if given is None:
        return None if inferred is None else list(inferred)
    known = [int(v) for v in given]
    if inferred is None or len(inferred) != len(known):
        inferred = (None,) * len(known)
    result: list[Dim] = []
    for i, (literal, dim) in enumerate(zip(known, inferred)):
        copies = literal == 0 and not node.attrs.get("allowzero") and i < len(before)
        result.append(before[i] if copies else literal if literal > 0 else dim)
    return _with_rest(before, result)


def _with_rest(before: Sizes, after: list[Dim]) -> list[Dim]:
    """The shape with a single missing length computed from the others, if all are numbers."""
    missing = [i for i, size in enumerate(after) if not isinstance(size, int)]
    left = [size for size in before if size not in after or isinstance(size, int)]
    if len(missing) != 1 or not all(isinstance(size, int) for size in left):
        return after
    whole = int(np.prod([size for size in before if isinstance(size, int)]))
    rest = int(np.prod([size for size in after if isinstance(size, int)]))
    names = [size for size in before if not isinstance(size, int)]
    if not names and rest and whole % rest == 0:
        after[missing[0]] = whole // rest
    return after


def regroup(walk: Walk, node: Node, axes: list[Axis], before: Sizes, after: Sizes) -> list[Axis]:
    """The axes of the same elements in another shape."""
    factors = factorize(before, after)
    if factors is None:
        why = f"{node.label()} splits axes without a common factor"
        walk.fix_tensor(axes, why)
        return [Fixed(why) for _ in after]
    why = f"{node.label()} mixes it with an axis of unknown length"
    known: list[Axis] = [Fixed(why) for _ in factors.sizes]
    for axis, made_of in zip(axes, factors.before):
        sizes = [factors.sizes[f] for f in made_of]
        for f, part in zip(made_of, _apart(walk, node, axis, sizes)):
            known[f] = part
    for f in factors.lost:
        walk.fix(known[f], why)
    return [
        walk.put_together(node, [known[f] for f in made_of], [factors.sizes[f] for f in made_of])
        for made_of in factors.after
    ]


def _apart(walk: Walk, node: Node, axis: Axis, sizes: Sizes) -> list[Axis]:
    if isinstance(axis, Fixed) or not sizes:
        return [axis for _ in sizes]
    lengths = [size for size in sizes if isinstance(size, int)]
    if len(lengths) < len(sizes):
        why = f"{node.label()} mixes it with an axis of unknown length"
        walk.fix(axis, why)
        return [Fixed(why) for _ in sizes]
    return walk.take_apart(node, axis, lengths)


def flatten(walk: Walk, node: Node) -> None:
    """Two axes: the product of the axes before `axis`, and of the others."""
    axes = walk.read(node, 0)
    at = node.attrs.get("axis", 1)
    at += len(axes) if at < 0 else 0
    sizes = sizes_of(walk, node.inputs[0], axes)
    parts = [(axes[:at], sizes[:at]), (axes[at:], sizes[at:])]
    walk.write(node.outputs[0], [_flat(walk, node, *part) for part in parts])


def _flat(walk: Walk, node: Node, axes: list[Axis], sizes: Sizes) -> Axis:
    wide = [i for i, size in enumerate(sizes) if size != 1]
    return walk.put_together(node, [axes[i] for i in wide], [sizes[i] for i in wide])


def transpose(walk: Walk, node: Node) -> None:
    """Axes in another order."""
    axes = walk.read(node, 0)
    order = node.attrs.get("perm", range(len(axes))[::-1])
    sizes = sizes_of(walk, node.inputs[0], axes)
    walk.learn(node.outputs[0], [sizes[i] for i in order] if axes else [])
    walk.write(node.outputs[0], [axes[i] for i in order] if axes else [])


def squeeze(walk: Walk, node: Node) -> None:
    """Axes of one element are removed."""
    axes = walk.read(node, 0)
    given = walk.integers.list_of(node, 1, "axes")
    if given is None and (walk.has(node, 1) or None in (walk.shape(node.inputs[0]) or (None,))):
        walk.give_up(node, "its axes are unknown")
        return
    sizes = sizes_of(walk, node.inputs[0], axes)
    gone = {a % len(axes) for a in given} if given is not None else {i for i, size in enumerate(sizes) if size == 1}
    left = [axis for i, axis in enumerate(axes) if i not in gone]
    tracked = [axis for axis in left if isinstance(axis, np.ndarray)]
    if given is None and tracked:
        walk.mend(Squeezed(node, tuple(sorted(gone)), np.concatenate(tracked)))
    walk.learn(node.outputs[0], [size for i, size in enumerate(sizes) if i not in gone])
    walk.write(node.outputs[0], left)


def unsqueeze(walk: Walk, node: Node) -> None:
    """New axes of one element."""
    axes = walk.read(node, 0)
    given = walk.integers.list_of(node, 1, "axes")
    if given is None:
        walk.give_up(node, "its axes are unknown")
        return
    rank = len(axes) + len(given)
    new = {a % rank for a in given}
    rest, sizes = iter(axes), iter(sizes_of(walk, node.inputs[0], axes))
    walk.learn(node.outputs[0], [1 if i in new else next(sizes) for i in range(rank)])
    walk.write(node.outputs[0], [SINGLE if i in new else next(rest) for i in range(rank)])


def depth_to_space(walk: Walk, node: Node) -> None:
    """Channel (b₁, b₂, c), or (c, b₁, b₂) in mode CRD, becomes channel c of a larger map."""
    x = walk.read(node, 0)
    if len(x) < 4 or not isinstance(x[1], np.ndarray):
        walk.write(node.outputs[0], x)
        return
    block = node.attrs["blocksize"] ** 2
    is_dcr = node.attrs.get("mode", "DCR") == "DCR"
    inner = len(x[1]) // block
    sizes, taken = ((block, inner), 1) if is_dcr else ((inner, block), 0)
    if inner == 1:
        walk.fix(x[1], f"{node.label()} merges all channels into one")
        walk.write(node.outputs[0], [x[0], SINGLE, *x[2:]])
        return
    parts = walk.take_apart(node, x[1], sizes, taken)
    walk.write(node.outputs[0], [x[0], parts[taken], *x[2:]])


def space_to_depth(walk: Walk, node: Node) -> None:
    """Channel c becomes the channels (b₁, b₂, c)."""
    x = walk.read(node, 0)
    if len(x) < 4 or not isinstance(x[1], np.ndarray):
        walk.write(node.outputs[0], x)
        return
    walk.write(node.outputs[0], [x[0], np.tile(x[1], node.attrs["blocksize"] ** 2), *x[2:]])


def expand(walk: Walk, node: Node) -> None:
    """Axes of one element are repeated, as by broadcasting with the target."""
    axes = walk.read(node, 0)
    shape = walk.integers.of(node.inputs[1])
    rank = len(shape) if shape is not None else len(walk.shape(node.outputs[0]) or ())
    if rank == 0 and axes:
        walk.give_up(node, "its target shape is unknown")
        return
    sizes = sizes_of(walk, node.inputs[0], axes)
    offset = max(rank - len(axes), 0)
    result: list[Axis] = []
    for i in range(max(rank, len(axes))):
        own = axes[i - offset] if i >= offset else SINGLE
        size = sizes[i - offset] if i >= offset else 1
        at = i - (len(axes) - rank if rank < len(axes) else 0)
        literal = int(shape[at]) if shape is not None and at >= 0 else UNKNOWN
        result.append(_expanded(walk, node, own, size, literal, at))
    walk.write(node.outputs[0], result)


def _expanded(walk: Walk, node: Node, axis: Axis, size: Dim, literal: int, position: int) -> Axis:
    if size != 1:
        if isinstance(axis, np.ndarray) and literal != 1:
            walk.mend(Count(node, 1, position, axis, keep=(1,)))
        return axis
    if literal <= 1:
        return SINGLE if literal == 1 else Fixed(f"{node.label()} repeats it")
    atoms = walk.atoms.new(literal)
    walk.mend(Count(node, 1, position, atoms))
    return atoms


def constant_of_shape(walk: Walk, node: Node) -> None:
    """A block of one value; its lengths follow the tensors it is combined with."""
    shape = walk.integers.of(node.inputs[0])
    if shape is None:
        walk.forget(node.outputs[0], f"its length is computed ({node.label()})")
        return
    result: list[Axis] = []
    for position, size in enumerate(shape):
        if size in (UNKNOWN, 0, 1):
            result.append(SINGLE if size == 1 else Fixed(f"its length is computed ({node.label()})"))
            continue
        result.append(walk.atoms.new(int(size)))
        walk.mend(Count(node, 0, position, result[-1]))  # type: ignore[arg-type]
    walk.write(node.outputs[0], result)


RULES: dict[str, Rule] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Expand": expand,
    "ConstantOfShape": constant_of_shape,
}
