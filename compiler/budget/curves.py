"""How much each part of a model keeps where what they keep adds up, so that all together lose least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Curve:
    """What a part loses (`losses` [points], the first 0) when it keeps `counts` [points], falling, of its elements."""

    counts: np.ndarray
    losses: np.ndarray
    is_continuous: bool = True
    """Whether it can keep a number between two points."""

    def hull(self) -> list[int]:
        """The points on the lower convex hull, from the left."""
        kept: list[int] = []
        for i in range(len(self.counts)):
            while kept and self.losses[i] <= self.losses[kept[-1]] and self.counts[i] < self.counts[kept[-1]]:
                kept.pop()
            while len(kept) > 1 and self.price(kept[-1], i) <= self.price(kept[-2], kept[-1]):
                kept.pop()
            kept.append(i)
        return kept

    def price(self, i: int, j: int) -> float:
        """Loss for each element removed between two points."""
        return float((self.losses[j] - self.losses[i]) / max(1, self.counts[i] - self.counts[j]))


def along_hulls(curves: Sequence[Curve], total: int) -> list[int]:
    """The counts [parts] of least loss of which the sum is `total` (or the least there are).

    Along the convex hull of each curve the cheapest step of all parts is taken next, the last one in part: exact
    for hulls, losses taken to add up over parts (Everett, "Generalized Lagrange Multiplier Method", 1963). See
    `allocate` for costs that do not add up.
    """
    counts = [int(curve.counts[curve.hull()[0]]) for curve in curves]
    steps = [
        (curve.price(i, j), part, int(curve.counts[i]), int(curve.counts[j]))
        for part, curve in enumerate(curves)
        for i, j in zip(curve.hull(), curve.hull()[1:])
    ]
    surplus = sum(counts) - total
    for _, part, before, after in sorted(steps, key=lambda step: (step[0], step[1], -step[2])):
        if surplus <= 0:
            break
        gone = min(before - after, surplus) if curves[part].is_continuous else before - after
        counts[part] -= gone
        surplus -= gone
    return counts
