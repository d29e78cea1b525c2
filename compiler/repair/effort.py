"""How much a repair may take: all it can where its result stays, little where candidates are only compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """`rows` are taken for each unknown of a layer; `pairs` says whether two layers are fitted together.

    `samples` is how many samples serve at most, None for as many as the caller asks for; `rounds` the share of the
    rounds of an iterative method.
    """

    rows: int = 24
    pairs: bool = True
    samples: int | None = None
    rounds: float = 1.0

    def at_most(self, count: int) -> int:
        """How many of `count` samples to use."""
        return count if self.samples is None else min(count, self.samples)

    def rounds_of(self, count: int) -> int:
        """How many of `count` rounds to run, at least one."""
        return max(1, round(self.rounds * count))


FULL = Effort()
"""For a result that stays."""
COARSE = Effort(rows=2, pairs=False, samples=256, rounds=0.3)
"""For candidates that are compared with each other: a twelfth of the rows orders them as all of them do."""
