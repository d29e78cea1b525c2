"""The record of a run for people and programs: measured figures, and the outcome of each pass.

Plain frozen data. `compiler/report` turns a Report into JSON, a terminal table or a page; the keys of the JSON form are
described there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx_compress.compiler.pipeline.context import Skip
    from onnx_compress.compiler.runtime.metrics.numerics import Numerics

EXIT_DONE = 0
EXIT_MISSED = 3


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The size and speed of one model.

    `bytes` is the file with its data files, `packed_bytes` its packed size with plain weights, None if not
    tried; `parameters` and `nonzero` count elements of weights; `macs` are multiply-accumulates of one run at batch
    1, None if no shape is known; `latency_ms` is the median of one run, None if it was not timed.
    """

    bytes: int
    parameters: int
    nonzero: int
    macs: int | None = None
    latency_ms: float | None = None
    packed_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class MetricChange:
    """The metric of the budget, before and after, in points (see `runtime/metrics/metric.py`).

    `stderr` is the standard error of the difference, None if unknown; `max_drop` is the budget, None without one.
    """

    name: str
    before: float
    after: float
    samples: int
    real_data: bool
    stderr: float | None = None
    max_drop: float | None = None

    @property
    def drop(self) -> float:
        """Points lost; negative if the metric rose."""
        return self.before - self.after


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How the latencies of a Report were measured, and their spread (half the interquartile range).

    `ratio` is the output's time over the input's, the median over rounds in which both ran, `ratio_spread` the half
    interquartile range of these ratios.
    """

    threads: int
    batch: int
    input_spread_ms: float
    output_spread_ms: float
    ratio: float
    ratio_spread: float


@dataclass(frozen=True, kw_only=True)
class SlowerLayer:
    """A layer that takes longer than in the original model."""

    name: str
    before_ms: float
    after_ms: float


@dataclass(frozen=True, kw_only=True)
class RememberedTimes:
    """The choices of a run that were made by times from before it.

    `choices` is how many, `since` the date of the oldest time (None if unknown), `machine` where the times were
    measured, `table` the file that holds them.
    """

    choices: int
    since: str | None
    machine: str
    table: str


@dataclass(frozen=True, kw_only=True)
class PassReport:
    """The outcome of one pass.

    `changed` counts places; `kept` is False if the pass was rolled back, and `reason` then says why. `notes` are
    the pass's own remarks, as plain JSON values. `figures`, `numerics` and `metric_after` describe the model
    directly after the pass, kept or not; None if not measured there.
    """

    name: str
    options: Mapping[str, Any]
    changed: int
    kept: bool
    effect: str = "exact"
    reason: str = ""
    skips: tuple[Skip, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    missed: tuple[str, ...] = ()
    seconds: float = 0.0
    figures: Figures | None = None
    numerics: Numerics | None = None
    metric_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole run.

    `input` and `output` are the two models; `numerics` maps each output to its difference from the original's,
    `warnings` are whole sentences, `missed` the targets that the run did not reach. `source`, `target` and `spec`
    describe the request; `oldest_onnxruntime` is the first release that loads the result.
    """

    input: Figures
    output: Figures
    passes: tuple[PassReport, ...]
    seed: int
    versions: Mapping[str, str]
    metric: MetricChange | None = None
    numerics: Mapping[str, Numerics] = field(default_factory=dict)
    timing: Timing | None = None
    slower_layers: tuple[SlowerLayer, ...] = ()
    remembered_times: RememberedTimes | None = None
    warnings: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    source: str = ""
    target: str = ""
    spec: str = ""
    oldest_onnxruntime: str | None = None

    @property
    def worst(self) -> Numerics | None:
        """The output with the largest error; None if nothing was compared."""
        from onnx_compress.compiler.runtime.metrics.numerics import worst

        return worst(self.numerics) if self.numerics else None

    @property
    def exit_status(self) -> int:
        """0 if everything requested was done, 3 if a pass was rolled back or a target missed."""
        return EXIT_MISSED if self.missed or not all(p.kept for p in self.passes) else EXIT_DONE
