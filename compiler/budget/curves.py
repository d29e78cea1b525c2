"""How much each part of a model keeps, if the kept amounts add up, for the least total loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Curve:
    """The `losses` [points] of a part, the first 0, if it keeps `counts` [points], falling, of its elements."""

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
        """Loss per element removed between two points."""
        return float((self.losses[j] - self.losses[i]) / max(1, self.counts[i] - self.counts[j]))


def along_hulls(curves: Sequence[Curve], total: int) -> list[int]:
    """The counts [parts] of least loss with the sum `total` (or the least possible).

    The cheapest step of all parts along the convex hulls of their curves is taken next, the last one in part: exact
    for hulls, assuming that losses add up over parts (Everett, "Generalized Lagrange Multiplier Method", 1963). See
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
