"""The metric `cosine`: the similarity of a model's outputs to the original's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from onnx_compress.compiler.runtime.metrics.numerics import cosine
from onnx_compress.compiler.runtime.metrics.score import Score


class SimilarityTally:
    """100 × the mean over outputs of the cosine between an output and the original's.

    It is one cosine over all samples: per sample, an output with one number would give only ±1. Each sample adds three
    sums, from which the standard error follows by the jackknife. NaN and infinite numbers count as 0; an output that
    is missing or has another shape has the cosine 0. Outputs that are not floats count by their share of equal
    elements.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._samples = 0
        self._sums: dict[str, list[np.ndarray]] = {}

    def add(
        self,
        outputs: Mapping[str, np.ndarray],
        count: int,
        labels: np.ndarray | None,
        original: Mapping[str, np.ndarray],
    ) -> None:
        """See `metric.Tally`."""
        self._samples += count
        for name, expected in original.items():
            self._sums.setdefault(name, []).append(_sums(expected, outputs.get(name), count))

    def score(self) -> Score:
        """See `metric.Tally`."""
        found = [_with_error(np.concatenate(parts)) for parts in self._sums.values()]
        values, errors = [value for value, _ in found], [error for _, error in found]
        known = [error for error in errors if error is not None]
        # The errors of one model's outputs are correlated, so they are averaged, not reduced by their number.
        error = 100 * float(np.mean(known)) if known else None
        return Score(self._name, 100 * float(np.mean(values)) if values else 100.0, self._samples, error)


def _sums(expected: np.ndarray, found: np.ndarray | None, count: int) -> np.ndarray:
    """y·y′, ‖y‖², ‖y′‖² of each sample [N, 3]; of the whole run, [1, 3], if axis 0 is not the samples."""
    rows = count if expected.shape[:1] == (count,) else 1
    y = expected.reshape(rows, -1)
    if found is None or found.shape != expected.shape:
        square = np.ones(rows)
        return np.stack([0 * square, square, square], 1)
    other = found.reshape(rows, -1)
    if y.dtype.kind != "f":
        equal = np.sum(y == other, 1)
        size = np.full(rows, y.shape[1])
        return np.stack([equal, size, size], 1).astype(np.float64)
    y, other = (np.nan_to_num(a.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0) for a in (y, other))
    return np.stack([np.sum(y * other, 1), np.sum(y * y, 1), np.sum(other * other, 1)], 1)


def _with_error(sums: np.ndarray) -> tuple[float, float | None]:
    """The cosine from the sums [N, 3] of all samples, and its jackknife standard error."""
    total = sums.sum(0)
    value = cosine(*total)
    count = len(sums)
    if count < 2:
        return value, None
    without = np.array([cosine(*rest) for rest in total - sums])
    return value, math.sqrt((count - 1) / count * float(np.sum((without - without.mean()) ** 2)))
