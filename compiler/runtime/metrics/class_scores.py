"""Find the class scores among the outputs of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CONFIDENT = 0.25
"""Least mean of the largest probability, on a scale from guessing (0) to certainty (1)."""


@dataclass(frozen=True)
class ClassScores:
    """The output that scores the classes.

    `output` is its name. `kind` is 'probabilities' or 'logits' for [N, C] (or [N, C, 1, …]); 'chance' or 'logit' of
    the second of two classes for [N] or [N, 1]; 'decision' for class numbers [N].
    """

    output: str
    kind: str

    def probabilities(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The probability of each class, float64 [N, C]; rows sum to 1 up to rounding."""
        values = outputs[self.output]
        if self.kind == "chance":
            second = values.reshape(len(values)).astype(np.float64)
            return np.stack([1 - second, second], 1)
        scores = self.scores(outputs).astype(np.float64)
        return scores if self.kind == "probabilities" else softmax(scores)

    def scores(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """A score per class, [N, C]; the model chooses the largest."""
        values = outputs[self.output]
        if self.kind in ("chance", "logit"):
            second = values.reshape(len(values))
            first = np.full_like(second, 0.5) if self.kind == "chance" else np.zeros_like(second)
            return np.stack([first, second], 1)
        return values.reshape(values.shape[:2])

    def choices(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The class chosen for each sample, [N]; −1 for a sample whose scores contain NaN."""
        if self.kind == "decision":
            return outputs[self.output].reshape(-1)
        scores = self.scores(outputs)
        return np.where(np.isnan(scores).any(1), -1, np.argmax(scores, 1))


def find(
    outputs: Mapping[str, np.ndarray], count: int, labels: np.ndarray | None = None, *, trusting: bool = False
) -> ClassScores | None:
    """The class scores among `outputs` of `count` samples, or None.

    With `labels` (numbers or names of classes, [N]), the first output with a column for each of them is taken (two
    classes may share one column), otherwise an output that is the class itself. Without labels, and unless
    `trusting`, an output must be confident on average: rows of an embedding look like logits but prefer no class,
    and a metric that can't see a loss must not be the budget.
    """
    candidates = {name: a for name, a in outputs.items() if a.dtype.kind == "f" and a.shape[:1] == (count,)}
    if labels is None:
        found = (_of_columns(name, array) for name, array in candidates.items())
        return next((scores for scores, sure in found if scores and (trusting or sure)), None)
    if not are_classes(labels):
        return None
    return _for_labels(candidates, labels) or _decision(outputs, labels)


def are_classes(labels: np.ndarray) -> bool:
    """Whether labels name one class per sample: whole numbers from 0, truth values, or strings."""
    if labels.ndim != 1 or not labels.size:
        return False
    return labels.dtype.kind in "bOUS" or (labels.dtype.kind in "iu" and int(np.min(labels)) >= 0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, exp(z) / Σ exp(z), without overflow."""
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which callers check
        powers = np.exp(logits - np.max(logits, -1, keepdims=True))
        return np.asarray(powers / np.sum(powers, -1, keepdims=True))


def _for_labels(candidates: Mapping[str, np.ndarray], labels: np.ndarray) -> ClassScores | None:
    if labels.dtype.kind not in "iub":
        return None
    for name, array in candidates.items():
        if _is_matrix(array) and int(np.max(labels)) < array.shape[1]:
            return _of_columns(name, array)[0]
    for name, array in candidates.items():
        if array.size == len(array) and int(np.max(labels)) <= 1:
            return ClassScores(name, "chance" if _in_unit(array) else "logit")
    return None


def _decision(outputs: Mapping[str, np.ndarray], labels: np.ndarray) -> ClassScores | None:
    kinds = "iub" if labels.dtype.kind in "iub" else "OUS"
    for name, array in outputs.items():
        if array.dtype.kind in kinds and array.ndim and array.size == len(array):
            return ClassScores(name, "decision")
    return None


def _is_matrix(array: np.ndarray) -> bool:
    """Whether `array` is [N, C] with C ≥ 2, up to trailing axes of length 1."""
    return array.ndim >= 2 and array.shape[1] >= 2 and array.size == len(array) * array.shape[1]


def _of_columns(name: str, array: np.ndarray) -> tuple[ClassScores | None, bool]:
    """A matrix as class scores, and whether the model is confident."""
    if not _is_matrix(array):
        return None, False
    rows = array.reshape(array.shape[:2]).astype(np.float64)
    is_distribution = _in_unit(rows) and bool(np.allclose(rows.sum(1), 1, atol=1e-2))
    sure = _confidence(rows if is_distribution else softmax(rows)) >= CONFIDENT
    return ClassScores(name, "probabilities" if is_distribution else "logits"), sure


def _confidence(probabilities: np.ndarray) -> float:
    """The mean largest probability, on a scale from guessing (0) to certainty (1); NaN rows count as guessing."""
    guess = 1 / probabilities.shape[1]
    return float(np.mean((np.nan_to_num(probabilities.max(1), nan=guess) - guess) / (1 - guess)))


def _in_unit(array: np.ndarray) -> bool:
    return bool(np.all((array >= 0) & (array <= 1)))
