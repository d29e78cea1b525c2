"""A metric's value, its standard error, and the loss of one model against another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FEW_SAMPLES = 256
"""Number of samples below which a value is shown with its standard error."""


@dataclass(frozen=True, eq=False)
class Score:
    """A metric over `samples` samples, in points; higher is better.

    `error` is the standard error, None if unknown. `each` holds the points of each sample if the value is their mean,
    so that two models can be compared sample by sample.
    """

    name: str
    value: float
    samples: int
    error: float | None = None
    each: np.ndarray | None = None

    def __str__(self) -> str:
        spread = f" ± {self.error:.2f}" if self.error is not None and self.samples < FEW_SAMPLES else ""
        return f"{self.value:.2f}{spread}"


@dataclass(frozen=True)
class Drop:
    """Points lost, negative if gained, and the standard error of the difference, None if unknown."""

    points: float
    error: float | None = None


def drop(before: Score, after: Score) -> Drop:
    """The loss of `after` against `before`, both on the same samples in the same order.

    If both have the points of each sample, the error is that of the paired difference: far smaller than the errors of
    the two values, because most samples do not change.
    """
    points = before.value - after.value
    if before.each is None or after.each is None or len(before.each) != len(after.each):
        return Drop(points, after.error)
    return Drop(points, standard_error(before.each - after.each))


def standard_error(values: np.ndarray) -> float | None:
    """The standard error of the mean of `values` [N]; None for fewer than two."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))
