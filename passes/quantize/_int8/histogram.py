"""The distribution of a tensor's values, collected batch by batch in fixed memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

BINS = 4096
"""Bins over [-limit, limit]; 32 kB per tensor whatever the amount of data."""


@dataclass
class Histogram:
    """Counts of values in equal bins over [-limit, limit], with the exact minimum and maximum.

    `limit` is the least power of two that covers every value so far. Growing it merges whole pairs of bins, so the
    counts do not depend on how the data is cut into batches. NaN and infinite values are left out. With `bins` 0 only
    `low`, `high` and `count` are kept.
    """

    bins: int = BINS
    low: float = math.inf
    high: float = -math.inf
    count: int = 0
    limit: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def observe(self, values: np.ndarray) -> None:
        """Add the elements of an array of any shape and float type."""
        flat = np.asarray(values).reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            self.observe(flat[np.isfinite(flat)])
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += flat.size
        if self.bins:
            self._grow(max(abs(low), abs(high)))
            self._fill(flat)

    def _grow(self, reach: float) -> None:
        needed = 2.0 ** math.ceil(math.log2(max(reach, 2.0**-100)))
        if not self.counts.size:
            self.counts, self.limit = np.zeros(self.bins, np.int64), needed
        while self.limit < needed:
            merged = np.zeros_like(self.counts)
            merged[self.bins // 4 : 3 * self.bins // 4] = self.counts.reshape(-1, 2).sum(1)
            self.counts, self.limit = merged, 2 * self.limit

    def _fill(self, flat: np.ndarray) -> None:
        # Scaling by a power of two is exact; adding half the bins as a float would round small numbers over the edge.
        places = np.floor(flat * np.float32(self.bins / 2 / self.limit)).astype(np.int32) + self.bins // 2
        np.clip(places, 0, self.bins - 1, out=places)
        self.counts += np.bincount(places, minlength=self.bins)

    @property
    def centers(self) -> np.ndarray:
        """The center of each bin, float64 [bins]."""
        return (np.arange(self.bins) + 0.5) * (2 * self.limit / self.bins) - self.limit
