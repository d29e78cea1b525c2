"""Measuring models against the original on held-out data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.metrics.metric import Metric, choose
from onnx_compress.compiler.runtime.metrics.score import Drop, Score, drop
from onnx_compress.compiler.runtime.outputs import Arrays, Recording, batch_size, outputs
from onnx_compress.compiler.runtime.session import Session

LARGEST_RECORDING = 1 << 30
"""Most bytes of the original's outputs to keep for comparison; further held-out samples are left out."""


class Evaluation:
    """The original's score, measured once, and the scores of any number of candidates on the same samples.

    The original's session is needed only for the constructor: the outputs that the metric compares with are recorded.
    `data` are the samples measured on, fewer than given if the original's outputs are very large.
    """

    def __init__(self, original: Session, data: Dataset, *, metric: str | None = None, size: int = 32) -> None:
        self.size = batch_size(original, data, size)
        batch, first = next(outputs(original, data, self.size))
        self.metric: Metric = choose(metric, first, batch.count, data.labels)
        needed = first if self.metric.needs is None else {name: first[name] for name in self.metric.needs}
        bytes_per_sample = sum(array.nbytes for array in needed.values()) / batch.count
        self.data = data.take(int(LARGEST_RECORDING / max(1.0, bytes_per_sample)))
        self._recording, self.before = self._take(original)

    def measure(self, candidate: Session) -> Score:
        """The metric of a model with the original's signature. Raises ModelError if it fails to run."""
        tally = self.metric.start()
        for (batch, found), original in zip(outputs(candidate, self.data, self.size), self._originals(), strict=False):
            tally.add(found, batch.count, batch.labels, original)
        return tally.score()

    def drop(self, after: Score) -> Drop:
        """The loss of a candidate with the score `after` against the original."""
        return drop(self.before, after)

    def _take(self, original: Session) -> tuple[Recording | None, Score]:
        """Run the original once, for its score and the outputs that later comparisons need."""
        recording = Recording() if self.metric.needs != () else None
        tally = self.metric.start()
        for batch, found in outputs(original, self.data, self.size):
            tally.add(found, batch.count, batch.labels, found)
            if recording is not None:
                recording.append({name: found[name] for name in self.metric.needs or found})
        return recording, tally.score()

    def _originals(self) -> Iterable[Arrays]:
        empty: Iterator[Arrays] = repeat({})
        return empty if self._recording is None else self._recording
