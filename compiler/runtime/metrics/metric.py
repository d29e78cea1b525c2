"""The quality of a model's outputs, in points; higher is better.

===============  ====================================================================================
`top1`           100 × share of samples whose class is the label
`top1-expected`  100 × mean p₀(ŷ), where p₀ are the original's probabilities and ŷ is the model's choice: without
                 labels, the original's confidence in the model's choices. Its drop p₀(ŷ₀) − p₀(ŷ)
                 estimates the points of accuracy lost; where the original is unsure, another choice costs little.
`agreement`      100 × share of samples with the original's choice. Counts every change as a loss: never the default.
`cosine`         100 × cosine between the outputs and the original's, over all samples, mean over outputs; for
                 integers and strings the share of equal elements
module:function  the function's result for all outputs and labels, taken as points
===============  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.runtime.data.stream import imported
from onnx_compress.compiler.runtime.metrics.class_scores import ClassScores, find
from onnx_compress.compiler.runtime.metrics.function_metric import FunctionTally
from onnx_compress.compiler.runtime.metrics.score import Score, standard_error
from onnx_compress.compiler.runtime.metrics.similarity import SimilarityTally

Arrays = Mapping[str, np.ndarray]

NAMES = ("top1", "top1-expected", "agreement", "cosine")


class Tally(Protocol):
    """Collects a model's outputs batch by batch and computes a score."""

    def add(self, outputs: Arrays, count: int, labels: np.ndarray | None, original: Arrays) -> None:
        """Add one batch of `count` samples; `original` holds the original's outputs that the metric needs."""

    def score(self) -> Score:
        """The metric over all batches."""


@dataclass(frozen=True)
class Metric:
    """A measure of outputs: `start` makes a new tally.

    `needs` names the outputs of the original that a tally compares with; None: all of them.
    """

    name: str
    start: Callable[[], Tally]
    needs: tuple[str, ...] | None = ()


def choose(name: str | None, outputs: Arrays, count: int, labels: np.ndarray | None) -> Metric:
    """The metric called `name`, or the best available one.

    None means: `top1` if there are labels for the class scores, else `top1-expected` for class scores, else `cosine`.
    `outputs` are the original's on a first batch of `count` samples, `labels` all labels. Raises UsageError if the
    name is unknown or the metric does not apply.
    """
    if name is not None and ":" in name:
        function = imported(name)
        return Metric(name, lambda: FunctionTally(name, function))
    if name not in (None, *NAMES):
        raise UsageError(f"metric '{name}' is unknown: use {', '.join(NAMES)}, or module:function")
    if name == "cosine":
        return _cosine()
    labelled = None if labels is None else find(outputs, count, labels)
    if name == "top1" and labelled is None:
        why = "the data have no labels" if labels is None else "no output has a score for each label"
        raise UsageError(f"metric 'top1': {why}")
    if labelled is not None and name in (None, "top1"):
        return _per_sample("top1", labelled, _top1, ())
    scores = find(outputs, count, trusting=name is not None)
    if scores is None and name is not None:
        raise UsageError(f"metric '{name}': no output looks like class scores [N, C]")
    if scores is None:
        return _cosine()
    points = _agreement if name == "agreement" else _expected
    return _per_sample(name or "top1-expected", scores, points, (scores.output,))


Points = Callable[[ClassScores, Arrays, np.ndarray | None, Arrays], np.ndarray]


@dataclass
class _SampleTally:
    """A mean over samples; `points` gives a batch's points [N] as a share from 0 to 1."""

    name: str
    scores: ClassScores
    points: Points
    parts: list[np.ndarray] = field(default_factory=list)

    def add(self, outputs: Arrays, count: int, labels: np.ndarray | None, original: Arrays) -> None:
        self.parts.append(100.0 * self.points(self.scores, outputs, labels, original))

    def score(self) -> Score:
        each = np.concatenate(self.parts)
        return Score(self.name, float(np.mean(each)), len(each), standard_error(each), each)


def _per_sample(name: str, scores: ClassScores, points: Points, needs: tuple[str, ...]) -> Metric:
    return Metric(name, lambda: _SampleTally(name, scores, points), needs)


def _cosine() -> Metric:
    return Metric("cosine", lambda: SimilarityTally("cosine"), None)


def _top1(scores: ClassScores, outputs: Arrays, labels: np.ndarray | None, original: Arrays) -> np.ndarray:
    return np.asarray(scores.choices(outputs) == labels, np.float64)


def _agreement(scores: ClassScores, outputs: Arrays, labels: np.ndarray | None, original: Arrays) -> np.ndarray:
    return np.asarray(scores.choices(outputs) == scores.choices(original), np.float64)


def _expected(scores: ClassScores, outputs: Arrays, labels: np.ndarray | None, original: Arrays) -> np.ndarray:
    chosen = scores.choices(outputs)
    believed = scores.probabilities(original)[np.arange(len(chosen)), chosen]
    return np.where(chosen < 0, 0.0, believed)
