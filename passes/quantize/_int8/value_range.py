"""From the distribution of a tensor's values to the range that its integers cover, in pure NumPy.

A range that covers every value wastes levels on outliers; a narrower one clips them. `minmax` never clips;
`percentile` leaves out a fixed share of values; `entropy` takes the range whose quantized distribution is closest to
the original's by the Kullback-Leibler divergence (Migacz, "8-bit inference with TensorRT", GTC 2017, here with both
ends of an asymmetric range scaled together).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.passes.quantize._int8.histogram import Histogram

LEVELS = 256
SHRINKS = np.linspace(1.0, 0.2, 81)
"""Shares of the full range for `entropy` to try."""


@dataclass(frozen=True)
class Range:
    """The values that the integers of a tensor cover; contains 0, which padding needs exactly."""

    low: float
    high: float

    @classmethod
    def around(cls, low: float, high: float) -> Range:
        """The range from `low` to `high`, widened to contain 0."""
        return cls(min(low, 0.0), max(high, 0.0))

    def within(self, low: float, high: float) -> Range:
        """The part of the range between `low` and `high`, which must contain 0."""
        return Range(max(self.low, low), min(self.high, high))


def minmax(seen: Histogram) -> Range:
    """The full range of the values; [0, 0] without values."""
    return Range.around(seen.low, seen.high) if seen.count else Range(0.0, 0.0)


def percentile(seen: Histogram, share: float) -> Range:
    """The range that covers `share` percent of the values, with equal shares left out below and above."""
    if not seen.count:
        return Range(0.0, 0.0)
    cut = seen.count * (100.0 - share) / 200.0
    below = np.searchsorted(np.cumsum(seen.counts), cut, side="right")
    above = np.searchsorted(np.cumsum(seen.counts[::-1]), cut, side="right")
    step = 2 * seen.limit / seen.bins
    low, high = below * step - seen.limit, seen.limit - above * step
    return Range.around(max(low, seen.low), min(high, seen.high))


def entropy(seen: Histogram) -> Range:
    """The range with the least Kullback-Leibler divergence among scaled copies of the full one."""
    full = minmax(seen)
    if full.low == full.high:
        return full
    losses = [divergence(seen, Range(full.low * s, full.high * s)) for s in SHRINKS]
    best = SHRINKS[int(np.argmin(losses))]
    return Range(full.low * best, full.high * best)


def divergence(seen: Histogram, kept: Range) -> float:
    """KL divergence from the values clipped to `kept` to the same quantized in 256 levels, both as histograms.

    Values outside `kept` count at its ends in the first histogram and are missing in the second, which makes clipping
    costly. The zeros of a Relu are represented exactly and would dominate: their bin is left out.
    """
    centers = seen.centers
    inside = (centers >= kept.low) & (centers <= kept.high) & (seen.counts > 0)
    inside[seen.bins // 2] = False
    if not inside.any():
        return float("inf")
    reference = seen.counts[inside].astype(np.float64)
    level = ((centers[inside] - kept.low) / (kept.high - kept.low) * LEVELS).astype(np.int64).clip(0, LEVELS - 1)
    mass = np.bincount(level, reference, LEVELS)
    members = np.bincount(level, minlength=LEVELS)
    quantized = mass[level] / members[level]
    reference[0] += seen.counts[centers < kept.low].sum()
    reference[-1] += seen.counts[centers > kept.high].sum()
    reference /= reference.sum()
    quantized /= quantized.sum()
    return float(np.sum(reference * np.log(reference / quantized)))


def affine(covered: Range, low: int, high: int) -> tuple[np.float32, int]:
    """The scale and zero point with which the integers `low` … `high` cover a range: x ≈ (q − zero)·scale.

    0 is represented exactly, so the range may shift by up to half a step. An empty range gets the scale 1.
    """
    scale = np.float32((covered.high - covered.low) / (high - low))
    if not np.isfinite(scale) or scale < np.finfo(np.float32).tiny:
        return np.float32(1.0), min(max(0, low), high)
    return scale, int(np.clip(round(low - covered.low / float(scale)), low, high))
