"""The result of a run in words: the summary at the end of every report, and the alerts."""

from __future__ import annotations

import math
from pathlib import Path

from onnx_compress.compiler.pipeline.run_report import MetricChange, Report
from onnx_compress.compiler.report import quantities
from onnx_compress.compiler.runtime.metrics.score import FEW_SAMPLES
from onnx_compress.compiler.runtime.timing.latency import MARGIN

FEW_LAYERS = 5
SAME = 0.03
"""Relative difference of sizes below which they count as the same."""


def latency_trend(report: Report) -> int:
    """1 if the output is slower than the input, -1 if it is faster, 0 within the noise or without timings."""
    change = _latency_change(report)
    return 0 if not change else int(math.copysign(1, change))


def summary(report: Report) -> str:
    """One sentence: how much smaller, how much faster, at what loss."""
    source, target = Path(report.source).name or "the input", Path(report.target).name or "the result"
    differs, same = _comparisons(report)
    if not differs:
        return f"{target} is about {' and '.join(same)} as {source}{_price(report)}."
    about = f", and about {' and '.join(same)}" if same else ""
    return f"{target} is {' and '.join(differs)} than {source}{about}{_price(report)}."


def _comparisons(report: Report) -> tuple[list[str], list[str]]:
    """The changes ('3.5 times smaller') and what stayed the same ('as fast')."""
    differs, same = [], []
    before, after = report.input.bytes, report.output.bytes
    if not before or not after or abs(after - before) <= SAME * before:
        same.append("as large")
    else:
        differs.append(_times(before / after, "smaller") if after < before else _times(after / before, "LARGER"))
    change = _latency_change(report)
    if change == 0:
        same.append("as fast")
    elif change is not None:
        differs.append(_times(1 / (1 + change), "faster") if change < 0 else _times(1 + change, "SLOWER"))
    return differs, same


def _times(factor: float, word: str) -> str:
    """'3.5 times smaller', or a percentage if the factor is near 1."""
    if factor >= 1.95:
        return f"{factor:.1f} times {word}"
    share = 100 * (1 - 1 / factor) if word == "smaller" else 100 * (factor - 1)
    return f"{share:.0f} % {word}"


def _latency_change(report: Report) -> float | None:
    """The share of time gained (negative) or lost, 0 within the noise; None unless both were timed."""
    timing = report.timing
    if timing is None or report.input.latency_ms is None or report.output.latency_ms is None:
        return None
    change = timing.ratio - 1
    return 0.0 if abs(change) <= max(2 * timing.ratio_spread, MARGIN) else change


def _price(report: Report) -> str:
    metric = report.metric
    if metric is None:
        return ""
    if not metric.real_data:
        return "; the accuracy was not measured: no real data was given"
    change = "loses nothing" if round(metric.drop, 2) == 0 else _change(metric.drop)
    return f"; it {change} of {metric.name} on {metric.samples:,} held-out samples"


def _change(drop: float) -> str:
    unit = "point" if quantities.points(abs(drop)) == "1.00" else "points"
    return f"{'loses' if drop > 0 else 'gains'} {quantities.points(abs(drop))} {unit}"


def alerts(report: Report) -> list[str]:
    """What a reader must not miss, as sentences, most serious first."""
    found = [*report.missed, *_overdrawn(report), *report.warnings]
    found += [_slower_layers(report)] if report.slower_layers else []
    return [f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in dict.fromkeys(found)]


def _overdrawn(report: Report) -> list[str]:
    metric = report.metric
    if metric is None or metric.max_drop is None or not metric.real_data or metric.drop <= metric.max_drop:
        return []
    limit = quantities.points(metric.max_drop)
    return [f"{_change(metric.drop)} of {metric.name}, MORE than the {limit} that the budget allows"]


def _slower_layers(report: Report) -> str:
    layers = ", ".join(
        f"{layer.name} ({quantities.milliseconds(layer.before_ms)} → {quantities.milliseconds(layer.after_ms)})"
        for layer in report.slower_layers[:FEW_LAYERS]
    )
    more = len(report.slower_layers) - FEW_LAYERS
    return f"SLOWER than before: {layers}{f' and {more} more layers' if more > 0 else ''}"


def remembered(report: Report) -> str:
    """The number of choices based on latencies from before the run, and their date; empty without any."""
    times = report.remembered_times
    if times is None:
        return ""
    choices = "1 choice" if times.choices == 1 else f"{times.choices} choices"
    return f"{choices} based on latencies remembered since {times.since or 'an unknown date'}, in {times.table}"


def error_bar(metric: MetricChange) -> str:
    """'± 0.35 points, from only 128 samples' if the samples are too few to trust the difference."""
    if metric.samples >= FEW_SAMPLES or metric.stderr is None:
        return ""
    return f"± {quantities.points(metric.stderr)} points, from only {metric.samples} samples"
