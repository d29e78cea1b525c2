"""The effort of a repair: full for a result that is kept, coarse for candidates that are only compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

ROWS_TO_CHOOSE = 16
"""Rows per unknown of sums that only rank weights or channels; a fit takes `Effort.rows`."""
SOLVER_PRODUCTS = 1 << 40
"""Limit for the multiplications of the iterative solvers of all layers together: about half a minute."""
RIDGE_TO_CHOOSE = 1e-3
"""Ridge of sums that only rank, as a share of the mean diagonal; the refit behind searches for its own.

Directions that a few thousand rows don't determine are not used.
"""
REFIT_SAMPLES = 2048
"""Number of samples for refitting a pass's result, more if they are small: see `sample_count`."""


@dataclass(frozen=True)
class Effort:
    """Limits of a repair: `rows` per unknown of a layer, and whether two layers are fitted together (`pairs`).

    `samples` is the most samples to use, None for as many as the caller gives; `rounds` is the share of an iterative
    method's rounds to run.
    """

    rows: int = 24
    pairs: bool = True
    samples: int | None = None
    rounds: float = 1.0

    def at_most(self, count: int) -> int:
        """The number of samples to use out of `count`."""
        return count if self.samples is None else min(count, self.samples)

    def rounds_of(self, count: int) -> int:
        """The number of rounds to run out of `count`, at least one."""
        return max(1, round(self.rounds * count))


FULL = Effort()
"""For a result that is kept."""
COARSE = Effort(rows=2, pairs=False, samples=256, rounds=0.3)
"""For candidates that are compared with each other: a twelfth of the rows ranks them as all rows do."""
MODERATE = replace(COARSE, rows=6)
"""For candidates whose weights are nearly all zero: with 2 rows they seem to lose much more than a full run does."""
