"""Reshape of axes: the common factors of the shapes before and after.

(N, 64, 8, 8) → (N, 32, 128) has the factors N · 32 · 2 · 8 · 8; the axis of 64 is the product of the second and
third, the axis of 128 the product of the last three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from onnx_compress.compiler.ir.graph import Dim


@dataclass
class Factors:
    """`sizes` of the factors from the outermost inwards, and the factors of each axis before and after.

    An axis of one element has no factor. A size that is not a number is a symbolic dimension. Factors in `lost`
    belong to one side only: their relation to the other side is unknown.
    """

    sizes: list[Dim] = field(default_factory=list)
    before: list[list[int]] = field(default_factory=list)
    after: list[list[int]] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


@dataclass
class _Side:
    """The unmatched part of one shape; `rest` is the unmatched part of each axis, `made` its factors so far."""

    rest: list[Dim]
    axes: list[int]
    front: list[list[int]]
    back: list[list[int]]

    @classmethod
    def of(cls, shape: Sequence[Dim]) -> _Side:
        axes = [i for i, dim in enumerate(shape) if dim != 1]
        empty: list[list[int]] = [[] for _ in shape]
        return cls([shape[i] for i in axes], axes, empty, [[] for _ in shape])

    def take(self, end: int, size: Dim, factor: int) -> None:
        """Match `size` of the axis at the front (end 0) or back (end -1) with a factor."""
        made = self.front if end == 0 else self.back
        made[self.axes[end]].append(factor)
        rest = self.rest[end]
        if rest == size:
            del self.rest[end], self.axes[end]
        else:
            assert isinstance(rest, int)
            assert isinstance(size, int)
            self.rest[end] = rest // size

    def lists(self) -> list[list[int]]:
        return [front + back[::-1] for front, back in zip(self.front, self.back)]


def factorize(before: Sequence[Dim], after: Sequence[Dim]) -> Factors | None:
    """The common factors of two shapes with the same number of elements; None if they have none.

    Symbolic dimensions match the same symbol; if one side's rest is a single axis, the other's rest may be
    anything. A remainder of both sides that does not match becomes separate, lost factors.
    """
    if 0 in before or 0 in after:
        return None
    result = Factors()
    left, right = _Side.of(before), _Side.of(after)
    for end in (0, -1):
        while left.rest and right.rest:
            size = _common(left.rest[end], right.rest[end])
            if size is None:
                break
            left.take(end, size, len(result.sizes))
            right.take(end, size, len(result.sizes))
            result.sizes.append(size)
    if bool(left.rest) != bool(right.rest) or _contradict(left.rest, right.rest):
        return None
    _leftovers(left, right, result)
    result.before, result.after = left.lists(), right.lists()
    return result


def _common(a: Dim, b: Dim) -> Dim:
    """The largest common factor of two sizes; None without one."""
    if isinstance(a, int) and isinstance(b, int):
        low, high = min(a, b), max(a, b)
        return low if high % low == 0 else None
    return a if a == b else None


def _contradict(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    """Whether two remainders of known lengths have different numbers of elements."""
    lengths = [[size for size in side if isinstance(size, int)] for side in (a, b)]
    return len(lengths[0]) == len(a) and len(lengths[1]) == len(b) and prod(lengths[0]) != prod(lengths[1])


def _leftovers(left: _Side, right: _Side, result: Factors) -> None:
    """Match the remainders if one side has a single axis; otherwise they are lost."""
    if not left.rest:
        return
    if len(right.rest) == 1 or len(left.rest) == 1:
        many, one = (left, right) if len(right.rest) == 1 else (right, left)
        one_axis = one.axes[0]
        for size, axis in zip(list(many.rest), list(many.axes)):
            many.front[axis].append(len(result.sizes))
            one.front[one_axis].append(len(result.sizes))
            result.sizes.append(size)
        return
    for side in (left, right):
        for size, axis in zip(side.rest, side.axes):
            side.front[axis].append(len(result.sizes))
            result.lost.append(len(result.sizes))
            result.sizes.append(size)
