"""Turn the states of a run into its report: sizes, MACs, latencies, metric and numerics of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.errors import CompressError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.held_out import HeldOut
from onnx_compress.compiler.pipeline.reproducer import versions
from onnx_compress.compiler.pipeline.run_report import (
    Figures,
    MetricChange,
    PassReport,
    RememberedTimes,
    Report,
    SlowerLayer,
    Timing,
)
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.runtime.metrics.numerics import worst
from onnx_compress.compiler.runtime.ort_releases import oldest_onnxruntime
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.compiler.runtime.timing import latency
from onnx_compress.compiler.runtime.timing.latency import MARGIN, Latency
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable

MOST_PACKED = 1 << 26
"""Limit for the bytes of weights up to which the report includes the packed size."""
NEARLY_ALL = 99.5
"""Points of the metric from which the original was probably trained on the held-out samples."""
SHARES_OF_RIGHT = ("top1", "top1-expected")
"""The metrics that show it."""


def summarize(
    records: Sequence[PassReport],
    states: Sequence[Model],
    final: Model,
    judge: HeldOut,
    settings: Settings,
    spec: str,
) -> Report:
    """Measure the original, the model after each pass and the final one, and assemble the report.

    `states` holds the model after each record, kept or not. All are timed in one interleaved run, so that their
    ratios hold on a noisy machine.
    """
    distinct = _distinct([judge.original, *states, final])
    place = {id(model): i for i, model in enumerate(distinct)}
    times = judge.timings({str(i): model for i, model in enumerate(distinct)})
    figures = [figures_of(model, times[str(i)], judge) for i, model in enumerate(distinct)]
    passes = [
        _with_measurements(record, state, figures[place[id(state)]], judge)
        for record, state in zip(records, states, strict=True)
    ]
    packed = [_packed(figures[i], distinct[i]) for i in (0, place[id(final)])]
    read = judge.original.disk_bytes or packed[0].bytes
    first, last = times["0"], times[str(place[id(final)])]
    timing = _timing(first, last, settings.threads)
    is_slower = timing.ratio > 1 + max(MARGIN, 2 * timing.ratio_spread)
    return Report(
        input=replace(packed[0], bytes=read),
        output=packed[1],
        passes=tuple(passes),
        seed=settings.seed,
        versions=versions(),
        metric=_metric(final, judge, settings),
        numerics=judge.numerics(final),
        timing=timing,
        slower_layers=_slower_layers(judge, final) if is_slower else (),
        remembered_times=_remembered(judge.table),
        warnings=tuple(_warnings(judge, final, settings, timing.ratio if is_slower else None)),
        missed=tuple(f"{record.name}: {why}" for record in records for why in record.missed),
        spec=spec,
        oldest_onnxruntime=oldest_onnxruntime(final),
    )


def figures_of(model: Model, timing: Latency | None, judge: HeldOut) -> Figures:
    """Size and speed of one model; its MACs for the shapes of one held-out sample."""
    feeds = next(iter(judge.data.for_inputs(specs(model).inputs).batches(1)))
    cost = Cost.of(model, {name: array.shape for name, array in feeds.items()})
    return Figures(
        bytes=model.file_bytes(),
        parameters=cost.parameters,
        nonzero=cost.nonzero,
        macs=cost.macs,
        latency_ms=None if timing is None else timing.median_ms,
    )


def _packed(figures: Figures, model: Model) -> Figures:
    """The figures with the packed size, unless that would take seconds."""
    is_small = model.weight_bytes() <= MOST_PACKED
    return replace(figures, packed_bytes=model.packed_bytes()) if is_small else figures


def _distinct(models: Sequence[Model]) -> list[Model]:
    seen: dict[int, Model] = {}
    for model in models:
        seen.setdefault(id(model), model)
    return list(seen.values())


def _with_measurements(record: PassReport, state: Model, figures: Figures, judge: HeldOut) -> PassReport:
    if record.changed == 0:
        return record
    numerics = judge.numerics(state)
    return replace(
        record,
        figures=figures,
        numerics=worst(numerics) if numerics else None,
        metric_after=judge.score(state)[0].value,
    )


def _metric(final: Model, judge: HeldOut, settings: Settings) -> MetricChange:
    score, drop = judge.score(final)
    return MetricChange(
        name=judge.name,
        before=judge.evaluation.before.value,
        after=score.value,
        samples=score.samples,
        real_data=judge.data.real,
        stderr=drop.error,
        max_drop=settings.budget,
    )


def _timing(first: Latency, last: Latency, threads: int) -> Timing:
    paired = latency.ratio(last, first)
    return Timing(
        threads=threads,
        batch=1,
        input_spread_ms=first.spread * first.median_ms / 2,
        output_spread_ms=last.spread * last.median_ms / 2,
        ratio=paired.median,
        ratio_spread=paired.spread * paired.median / 2,
    )


def _remembered(table: LatencyTable) -> RememberedTimes | None:
    if not table.remembered:
        return None
    oldest = min(table.remembered.values())
    since = datetime.fromtimestamp(oldest, UTC).date().isoformat() if oldest else None
    return RememberedTimes(choices=len(table.remembered), since=since, machine=table.machine, table=str(table.path))


def _slower_layers(judge: HeldOut, final: Model) -> tuple[SlowerLayer, ...]:
    """The layers that take longer than in the original; none if profiling fails, which must not fail the run."""
    from onnx_compress.compiler.runtime.timing.profile import slower_nodes

    feeds = next(iter(judge.data.batches(1)))
    try:
        found = slower_nodes(judge.original, final, feeds, threads=judge.threads)
    except CompressError:
        return ()
    return tuple(SlowerLayer(name=name, before_ms=before, after_ms=after) for name, before, after in found)


def _warnings(judge: HeldOut, final: Model, settings: Settings, slower: float | None) -> list[str]:
    said = []
    if not judge.data.real:
        said.append("No data were given: accuracy was not measured on real data; give --data.")
    if judge.data.labels is not None and settings.metric is None and judge.name != "top1":
        said.append(
            "The labels were not used: no output of the original holds a score for each of them; "
            "give a --metric module:function that takes them."
        )
    before = judge.evaluation.before.value
    if judge.data.real and judge.name in SHARES_OF_RIGHT and before >= NEARLY_ALL:
        said.append(
            f"The original scores {before:.2f} % of {judge.name} on the held-out samples. If it was trained on them, "
            "the loss is overestimated: give samples that it has not seen."
        )
    if slower is not None:
        said.append(f"The result is {slower:.2f} times SLOWER than the original here.")
    nonfinite = [name for name, result in judge.numerics(final).items() if result.nonfinite]
    if nonfinite:
        said.append(f"The outputs {', '.join(nonfinite)} have NaN or infinite values where the original has none.")
    return said
