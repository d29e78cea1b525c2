"""The distance of a model's outputs from the original's, as one number for choosing between candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.metrics.class_scores import ClassScores, find
from onnx_compress.compiler.runtime.outputs import outputs
from onnx_compress.compiler.runtime.session import create

Arrays = Mapping[str, np.ndarray]
SMALLEST = 1e-12
"""Lower bound of probabilities, so that their logarithm is finite."""


class Divergence:
    """The outputs of `model` over `data`, as a reference for candidates.

    If an output holds class scores, the divergence is the mean Kullback-Leibler divergence of the class probabilities,
    in nats; otherwise it is the mean over the float outputs of the squared error relative to their variance.
    """

    def __init__(self, model: Model, data: Dataset, batch: int) -> None:
        self._data = data
        self._batch = batch
        self._before = self._outputs(model)
        self._scores: ClassScores | None = find(_joined(self._before), len(data)) if self._before else None

    def of(self, model: Model) -> float:
        """The divergence of `model`; infinite if its outputs contain NaN."""
        found = [self._difference(a, b) for a, b in zip(self._before, self._outputs(model), strict=True)]
        mean = float(np.average([value for value, _ in found], weights=[count for _, count in found]))
        return mean if np.isfinite(mean) else float(np.inf)

    def _outputs(self, model: Model) -> list[Arrays]:
        return [arrays for _, arrays in outputs(create(model), self._data, self._batch)]

    def _difference(self, before: Arrays, after: Arrays) -> tuple[float, int]:
        """The mean over one batch, and its weight."""
        if self._scores is not None:
            p, q = (np.maximum(self._scores.probabilities(a), SMALLEST) for a in (before, after))
            return float(np.sum(p * np.log(p / q), axis=1).mean()), len(p)
        names = [name for name, array in before.items() if array.dtype.kind == "f" and array.size]
        errors = [_relative(before[name].astype(np.float64), after[name].astype(np.float64)) for name in names]
        return float(np.mean(errors)) if errors else 0.0, 1


def _relative(before: np.ndarray, after: np.ndarray) -> float:
    if before.shape != after.shape:
        return float(np.inf)
    return float(np.mean((before - after) ** 2) / max(float(before.var()), SMALLEST))


def _joined(batches: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """The float outputs with one row per sample, over all batches."""
    names = [name for name, array in batches[0].items() if array.ndim and array.dtype.kind == "f"]
    return {name: np.concatenate([arrays[name] for arrays in batches]) for name in names}
