"""Measure candidates against the user's model, always on the same held-out samples and the same machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from onnx_compress.compiler.errors import DataError, ModelError, UsageError
from onnx_compress.compiler.ir.model import Model, State
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.metrics.evaluation import Evaluation
from onnx_compress.compiler.runtime.metrics.numerics import Numerics, common_size, numerics
from onnx_compress.compiler.runtime.metrics.score import Drop, Score
from onnx_compress.compiler.runtime.outputs import Recording
from onnx_compress.compiler.runtime.session import Session, create
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.compiler.runtime.timing import latency
from onnx_compress.compiler.runtime.timing.channel_step import channel_step
from onnx_compress.compiler.runtime.timing.latency import Latency
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable, keys_of
from onnx_compress.compiler.runtime.timing.layer_times import Forms, layer_times

CAUTIOUS_BELOW = 2048
"""Held-out samples below which hits and misses alone are too coarse a measure."""
ENOUGH_TO_TELL = 16
"""Samples from which equal labels are not an accident."""
EXACT_SAMPLES = 16
COMPARED_SAMPLES = 256
COMPARED_ROUGHLY = 512
"""Samples on which candidates of a search are compared; the last ones are measured on all."""
TOGETHER = 1 << 30
"""Limit for the bytes of weights of sessions held side by side, so that their timings can be interleaved."""


@dataclass
class HeldOut:
    """The judge of a run.

    `original` is the user's model, `data` the held-out samples. With labels but few samples the drop is the larger
    of two: that of the hits, and that of the original's probability of the model's choices (`top1-expected`), which
    changes before a single hit is lost.
    """

    original: Model
    data: Dataset
    evaluation: Evaluation
    expected: Evaluation | None
    threads: int
    max_drop: float
    table: LatencyTable
    _drops: WeakKeyDictionary[State, float] = field(default_factory=WeakKeyDictionary)
    _numerics: WeakKeyDictionary[State, dict[str, Numerics]] = field(default_factory=WeakKeyDictionary)

    @classmethod
    def of(cls, original: Model, data: Dataset, settings: Settings, table: LatencyTable | None = None) -> HeldOut:
        """Measure the original once. Raises UsageError for a metric that does not apply here.

        All judges of a run share one `table`, that of the settings.
        """
        session = create(original, threads=settings.threads)
        evaluation = Evaluation(session, data, metric=settings.metric)
        if evaluation.metric.name == "top1":
            _check_labels(data)
        expected = None
        if evaluation.metric.name == "top1" and len(data) < CAUTIOUS_BELOW:
            try:
                expected = Evaluation(session, data, metric="top1-expected")
            except UsageError:
                expected = None  # the model gives the class itself and no scores
        return cls(original, data, evaluation, expected, settings.threads, settings.budget, table or _table(settings))

    def sampled(self, settings: Settings, count: int = COMPARED_ROUGHLY) -> HeldOut:
        """The same judge on `count` of its samples, for comparing candidates; itself if it has hardly more."""
        if len(self.data) < 2 * count:
            return self
        return HeldOut.of(self.original, self.data.take(count, settings.seed), settings, self.table)

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.evaluation.metric.name

    @property
    def basis(self) -> str:
        """The metrics that a drop refers to, for messages."""
        return self.name if self.expected is None else f"{self.name} or {self.expected.metric.name}"

    def drop(self, model: Model) -> float:
        """Points that `model` loses against the original; a model that fails on any input has lost everything."""
        if model is self.original:
            return 0.0
        if model.state not in self._drops:
            self._drops[model.state] = self._measured_drop(model)
        return self._drops[model.state]

    def _measured_drop(self, model: Model) -> float:
        session = create(model, threads=self.threads)
        evaluations = [self.evaluation, *([self.expected] if self.expected else [])]
        try:
            return max(e.drop(e.measure(session)).points for e in evaluations)
        except ModelError:
            return 100.0

    def score(self, model: Model) -> tuple[Score, Drop]:
        """The metric of `model` and its loss, with standard errors."""
        score = self.evaluation.measure(create(model, threads=self.threads))
        return score, self.evaluation.drop(score)

    def speed(self, models: Mapping[str, Model], feeds: Mapping[str, np.ndarray] | None = None) -> dict[str, float]:
        """Median milliseconds of one run of each model: from the table, or measured and stored there.

        They run on `feeds`, by default one held-out sample. Ratios to the first are taken round by round in one
        interleaved measurement.
        """
        given, feeds = feeds, self._sample() if feeds is None else feeds
        keys = keys_of(models, feeds, self.threads, self.table.machine)
        known = self.table.get(list(keys.values()))
        if known is None:
            # Models of the same structure take the same time; measured differences are noise.
            distinct = {key: models[name] for name, key in keys.items()}
            timings = self.timings(distinct, given)
            reference = timings[next(iter(timings))]
            self.table.put({k: reference.median_ms * _ratio(timing, reference) for k, timing in timings.items()})
            known = self.table.get(list(keys.values()))  # as it will be read the next time
            assert known is not None
        return dict(zip(models, known, strict=True))

    def layer_times(self, forms: Forms, advance: Callable[[], object] = lambda: None) -> list[dict[str, float]]:
        """Milliseconds of each layer in each variant of a model at batch 1: from the table, or measured."""
        return layer_times(forms, self._sample(), self.table, threads=self.threads, advance=advance)

    def channel_step(self) -> int:
        """Channels in which layers' times step: from the table, or measured."""
        return channel_step(self.table, self.threads)

    def timings(self, models: Mapping[str, Model], feeds: Mapping[str, np.ndarray] | None = None) -> dict[str, Latency]:
        """Latency of each model, by default at batch 1: interleaved, or one after another if memory requires it."""
        given = self._sample_for if feeds is None else feeds
        if sum(model.weight_bytes() for model in models.values()) > TOGETHER:
            return {n: latency.interleaved({n: self._session(m)}, given)[n] for n, m in models.items()}
        return latency.interleaved({name: self._session(model) for name, model in models.items()}, given)

    def _sample_for(self, session: Session) -> Mapping[str, np.ndarray]:
        return next(iter(self.data.for_inputs(session.inputs).batches(1)))

    def _sample(self) -> Mapping[str, np.ndarray]:
        return next(iter(self.data.batches(1)))

    def _session(self, model: Model) -> Session:
        return create(model, threads=self.threads)

    def numerics(self, model: Model) -> dict[str, Numerics]:
        """The differences of the outputs of `model` from the original's, on held-out samples."""
        if model.state not in self._numerics:
            self._numerics[model.state] = self._compare(self.original, model, self.data.take(COMPARED_SAMPLES))
        return self._numerics[model.state]

    def inexact(self, before: Model, after: Model, tolerance: float) -> str:
        """Why `after` does not compute the same as `before`, or an empty string: the check of an exact pass.

        A few models change by more than `tolerance` when onnxruntime itself reorders their sums; those may
        change as much as that.
        """
        data = self.data.take(EXACT_SAMPLES)
        results = self._compare(before, after, data)
        outside = [name for name, result in results.items() if not result.within(tolerance)]
        if not outside:
            return ""
        noise = numerics(self._session(before), create(before, threads=self.threads, optimize=False), data)
        beyond = [name for name in outside if not _is_noise(results[name], noise.get(name))]
        return f"it moves the output '{beyond[0]}': {results[beyond[0]]}" if beyond else ""

    def _compare(self, reference: Model, candidate: Model, data: Dataset) -> dict[str, Numerics]:
        first = self._session(reference)
        size = common_size(first, specs(candidate).inputs, data)
        if reference.weight_bytes() + candidate.weight_bytes() <= TOGETHER:
            return numerics(first, self._session(candidate), data, size=size)
        recorded = Recording.of(first, data, size)
        del first  # before the other model is loaded
        return numerics(recorded, self._session(candidate), data, size=size)


def _table(settings: Settings) -> LatencyTable:
    path = settings.latency_table
    return LatencyTable.of_user() if path is None else LatencyTable.load(Path(path))


def _check_labels(data: Dataset) -> None:
    """Reject labels of a single class, as part of a file sorted by class has: nothing can go wrong on those."""
    if data.labels is not None and len(data) >= ENOUGH_TO_TELL and len(np.unique(data.labels)) == 1:
        raise DataError(
            f"all {len(data)} held-out samples have the label {data.labels[0]}: accuracy on one class says nothing; "
            "give samples of every class, in any order"
        )


def _ratio(timing: Latency, reference: Latency) -> float:
    """Round by round if both were timed in one run, otherwise of the medians."""
    if len(timing.rounds_ms) == len(reference.rounds_ms):
        return latency.ratio(timing, reference).median
    return timing.median_ms / reference.median_ms


def _is_noise(result: Numerics, noise: Numerics | None) -> bool:
    """Whether a difference is rounding only, and no larger than rounding differences of the same model."""
    if noise is None or result.problem is not None or result.nonfinite or result.mismatched:
        return False
    return result.max_abs <= noise.max_abs
