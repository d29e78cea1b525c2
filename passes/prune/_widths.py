"""How many channels each group keeps, for a share of the multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

import numpy as np

BISECTIONS = 20


@dataclass(frozen=True, eq=False)
class Widths:
    """The groups' freedom: `sizes` sets in each, a set being `multiplicity` channels of a layer.

    `fixed[i]` is how many sets group i keeps whatever happens, or -1 where that is open.
    """

    sizes: np.ndarray
    multiplicity: np.ndarray
    fixed: np.ndarray

    def unit(self, step: int) -> np.ndarray:
        """Sets of each group by which its width changes, so that widths stay multiples of `step` channels."""
        return np.array([step // gcd(step, int(m)) for m in self.multiplicity], np.int64)

    def at(self, share: float, step: int) -> np.ndarray:
        """Sets that each group keeps when all keep the same share, rounded to the step; never less than one."""
        unit = self.unit(step)
        kept = np.round(share * self.sizes / unit).astype(np.int64) * unit
        kept = np.minimum(np.maximum(kept, np.minimum(unit, self.sizes)), self.sizes)
        return np.where(self.fixed >= 0, self.fixed, kept)


def choose(widths: Widths, macs: Callable[[np.ndarray], int], target: int, step: int) -> tuple[np.ndarray, int]:
    """Sets to keep in each group so that macs(kept) ≤ target, and the step that allowed it.

    All groups keep the same share as far as rounding to `step` channels lets them; what rounding took too
    much goes back, first to those that lost most. Where no widths in multiples of the step reach the target
    the step is halved. If even single channels don't, the narrowest widths are returned.
    """
    while True:
        kept = widths.at(0.0, step)
        if macs(kept) <= target or step == 1:
            break
        step = max(1, step // 2)
    if macs(kept) > target:
        return kept, step
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if macs(widths.at(middle, step)) <= target:
            low = middle
        else:
            high = middle
    return _given_back(widths, macs, target, step, widths.at(low, step)), step


def _given_back(
    widths: Widths, macs: Callable[[np.ndarray], int], target: int, step: int, kept: np.ndarray
) -> np.ndarray:
    unit = widths.unit(step)
    is_open = (widths.fixed < 0) & (kept < widths.sizes)
    while is_open.any():
        share = np.where(is_open, kept / widths.sizes, np.inf)
        i = int(share.argmin())
        wider = kept.copy()
        wider[i] = min(kept[i] + unit[i], widths.sizes[i])
        if macs(wider) > target:
            is_open[i] = False
            continue
        kept = wider
        is_open[i] = kept[i] < widths.sizes[i]
    return kept
