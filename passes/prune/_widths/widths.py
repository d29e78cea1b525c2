"""The number of channels that each group keeps, for a share of the multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from onnx_compress.compiler.budget.allocate import Problem, descended

BISECTIONS = 20
FINEST = 4
"""The least step for narrow layers: a width not divisible by 4 is slower than the next one that is."""
LARGEST_SHARE = 4
"""One step is at most a quarter of a group's channels, so that narrow layers can be pruned too."""

Macs = Callable[[np.ndarray], float]
"""The model's cost with these numbers of sets in each group: multiply-accumulates, or milliseconds."""


@dataclass(frozen=True, eq=False)
class Choice:
    """For each group the `order` in which its sets are removed, how many are `kept`, and its loss; and the `step`.

    Losses are measured at the model's outputs, None without data.
    """

    orders: Sequence[np.ndarray]
    kept: np.ndarray
    step: int
    losses: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Widths:
    """The possible widths of groups: `sizes` sets in each, a set being `multiplicity` channels of a layer.

    `fixed[i]` is the prescribed number of sets of group i, or -1 if it is open. `losses[i]` [sets] is the loss of
    removing each of its sets, the cheapest first.
    """

    sizes: np.ndarray
    multiplicity: np.ndarray
    fixed: np.ndarray
    losses: Sequence[np.ndarray]
    most: int | None = None
    """How many widths of each group to choose from at most; None: all."""

    def units(self, step: int) -> np.ndarray:
        """The number of sets by which each group's width changes, for widths in multiples of `step` channels.

        In narrow groups the step is halved until it is at most a quarter of their channels, but not below
        `FINEST`.
        """
        return np.array([_unit(int(s), int(m), step) for s, m in zip(self.sizes, self.multiplicity)], np.int64)

    def full(self) -> np.ndarray:
        """The widths before anything is chosen."""
        return np.where(self.fixed >= 0, self.fixed, self.sizes)

    def narrowest(self, step: int) -> np.ndarray:
        """One unit of each group."""
        return np.where(self.fixed >= 0, self.fixed, np.minimum(self.units(step), self.sizes))

    def candidates(self, step: int) -> list[np.ndarray]:
        """For each group the numbers of sets that it may keep, in falling order."""
        narrower = [np.arange((s - 1) // u * u, 0, -u) for s, u in zip(self.sizes, self.units(step))]
        every = [self._thinned(np.append(s, widths)) for s, widths in zip(self.sizes, narrower)]
        return [every[i] if f < 0 else np.array([f]) for i, f in enumerate(self.fixed)]

    def _thinned(self, kept: np.ndarray) -> np.ndarray:
        if self.most is None or len(kept) <= self.most:
            return kept
        return np.asarray(kept[np.round(np.linspace(0, len(kept) - 1, self.most)).astype(np.int64)])


def _unit(size: int, multiplicity: int, step: int) -> int:
    while step > FINEST and step * LARGEST_SHARE > size * multiplicity:
        step //= 2
    return step // gcd(step, multiplicity)


def choose(widths: Widths, macs: Macs, target: float, step: int, scope: str) -> tuple[np.ndarray, int]:
    """The sets to keep in each group so that macs(kept) ≤ target, and the step that allowed it.

    If no widths in multiples of the step reach the target, the step is halved. If even single channels don't, the
    narrowest widths are returned.
    """
    step = reaching(widths, macs, target, step)
    if macs(widths.narrowest(step)) > target:
        return widths.narrowest(step), step
    chosen = {"global": least_loss, "uniform": same_share}[scope](widths, macs, target, step)
    return given_back(widths, macs, target, step, chosen), step


def reaching(widths: Widths, macs: Macs, target: float, step: int) -> int:
    """The step, halved until widths in multiples of it reach the target, or 1."""
    while macs(widths.narrowest(step)) > target and step > 1:
        step = max(1, step // 2)
    return step


def least_loss(widths: Widths, macs: Macs, target: float, step: int) -> np.ndarray:
    """The widths of least loss, assumed to add up over groups and sets."""
    candidates = widths.candidates(step)
    # A prescribed width has no alternative, so its loss does not matter.
    losses = [
        np.append(0.0, np.cumsum(loss))[size - kept] if len(kept) > 1 else np.zeros(1)
        for loss, size, kept in zip(widths.losses, widths.sizes, candidates)
    ]

    def kept(choices: np.ndarray) -> np.ndarray:
        return np.array([counts[c] for counts, c in zip(candidates, choices)], np.int64)

    return kept(descended(Problem(losses, lambda chosen: macs(kept(chosen)), target)))


def same_share(widths: Widths, macs: Macs, target: float, step: int) -> np.ndarray:
    """Every group keeps the same share of its channels, up to rounding."""
    units = widths.units(step)

    def at(share: float) -> np.ndarray:
        kept = np.floor(share * widths.sizes / units + 0.5).astype(np.int64) * units
        kept = np.minimum(np.maximum(kept, np.minimum(units, widths.sizes)), widths.sizes)
        return np.where(widths.fixed >= 0, widths.fixed, kept)

    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if macs(at(middle)) <= target else (low, middle)
    return at(low)


def given_back(widths: Widths, macs: Macs, target: float, step: int, kept: np.ndarray) -> np.ndarray:
    """Widen groups again as far as the target allows after rounding, first those that lost most."""
    units = widths.units(step)
    is_open = (widths.fixed < 0) & (kept < widths.sizes)
    while is_open.any():
        i = int(np.where(is_open, kept / widths.sizes, np.inf).argmin())
        wider = kept.copy()
        wider[i] = min(kept[i] + units[i], widths.sizes[i])
        if macs(wider) > target:
            is_open[i] = False
            continue
        kept = wider
        is_open[i] = kept[i] < widths.sizes[i]
    return kept
