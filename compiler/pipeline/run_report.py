"""What a run leaves behind for people and programs: measured figures, and what became of each pass.

Plain frozen data. `compiler/report` turns a Report into JSON, a terminal table or a page; the keys of the
JSON form are described there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx_compress.compiler.ir.files.ocz_file import SUFFIX

if TYPE_CHECKING:
    from onnx_compress.compiler.pipeline.context import Skip
    from onnx_compress.compiler.runtime.metrics.numerics import Numerics

EXIT_DONE = 0
EXIT_MISSED = 3

FEW_SAMPLES = 256
"""Below this many held-out samples a metric is reported with its standard error."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The size and speed of one model.

    `bytes` is the file with its external data, `packed_bytes` what it would be packed, its weights plain, None where
    that was not tried; `parameters` and `nonzero` count elements of weights;
    `macs` are multiply-accumulates of one run at batch 1, None where no shape is known; `latency_ms` is the
    median of one run, None where it was not timed.
    """

    bytes: int
    parameters: int
    nonzero: int
    macs: int | None = None
    latency_ms: float | None = None
    packed_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class MetricChange:
    """The metric that the budget is about, before and after, in points (see `runtime/metrics/metric.py`).

    `stderr` is the standard error of the difference, None where it can't be told; `max_drop` is the budget,
    None where there was none.
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
        """Points lost; negative where the metric rose."""
        return self.before - self.after


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How the latencies of a Report were taken, and how far they scatter (half the interquartile range).

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
    """A layer that takes longer than it did in the original model."""

    name: str
    before_ms: float
    after_ms: float


@dataclass(frozen=True, kw_only=True)
class PassReport:
    """What became of one pass.

    `changed` counts places; `kept` is False when the pass was rolled back, and `reason` then says why.
    `notes` are what the pass itself wants to say, as plain JSON values. `figures`, `numerics` and
    `metric_after` are of the model directly after the pass, whether it was kept or not; None where it was
    not measured there.
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

    `input` and `output` are the two models; `numerics` maps each output to how far it is from the original's,
    `warnings` are whole sentences, `missed` targets that the run was given and did not reach. `source`,
    `target` and `spec` say what was asked for; `oldest_onnxruntime` is the first release that loads the result.
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
    warnings: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    source: str = ""
    target: str = ""
    spec: str = ""
    oldest_onnxruntime: str | None = None

    @property
    def file_sizes(self) -> tuple[int, int]:
        """Bytes of the two files, packed or not as their names say."""
        return _file_size(self.source, self.input), _file_size(self.target, self.output)

    @property
    def worst(self) -> Numerics | None:
        """The output that suffered most; None where nothing was compared."""
        from onnx_compress.compiler.runtime.metrics.numerics import worst

        return worst(self.numerics) if self.numerics else None

    @property
    def exit_status(self) -> int:
        """0 when everything asked for was done, 3 when a pass was rolled back or a target missed."""
        return EXIT_MISSED if self.missed or not all(p.kept for p in self.passes) else EXIT_DONE


def _file_size(name: str, figures: Figures) -> int:
    packed = figures.packed_bytes
    return figures.bytes if packed is None or not name.lower().endswith(SUFFIX) else packed
