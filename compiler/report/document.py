"""The report as JSON, for programs.

Its keys, all of which are always present:

- `input`, `output`: `bytes` of the file that was read or written, packed or not, with its data files; `parameters`,
  `nonzero`, `macs` at batch 1, `latency_ms` (median), `packed_bytes` (null for weights of more than 64 MB, unless the
  packed file was written).
- `metric`: `name`, `before`, `after`, `samples`, `real_data`, and in points `drop`, `max_drop`, `stderr`; or null.
- `numerics`: `max_abs`, `cosine` and `sqnr_db` of the output that changed most, and `outputs` with the same for
  each, with `scale`, `nonfinite`, `mismatched` and `problem` (see `runtime/metrics/numerics.py`); or null.
- `passes`: a list of `name`, `options`, `effect`, `changed` (places), `kept`, `reason`, `skips` (a list of `where`
  and `why`), `notes`, `seconds`, the five figures after the pass (`bytes` as a plain ONNX file), `metric` and
  `numerics` after it.
- `seed`, `versions`: what is needed to repeat a run.
- `timing`: `threads`, `batch`, `input_spread_ms`, `output_spread_ms`, `ratio` of the output's time to the input's and
  `ratio_spread`; or null.
- `slower_layers`: a list of `name`, `before_ms`, `after_ms`.
- `remembered_times`: how many `choices` were made by times from before the run, `since` which date, on which `machine`
  they were measured, and their `table`; or null.
- `warnings`, `missed`: sentences; the latter are about missed targets.
- `source`, `target`, `spec`: the files and the pipeline; `oldest_onnxruntime`: the first release that loads the result.
- `exit_status`: 0, or 3 if a pass was rolled back or a target missed.

Null means not measured, or a number that JSON does not have (an infinite `sqnr_db`: no difference). Except for
`seconds`, latencies, their spread and `remembered_times`, the same input, options and seed give the same values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from onnx_compress.compiler.pipeline.run_report import Figures, MetricChange, PassReport, Report
from onnx_compress.compiler.runtime.metrics.numerics import Numerics

NUMERICS = ("max_abs", "cosine", "sqnr_db")


def to_json(report: Report) -> str:
    """The report as indented JSON with a final newline."""
    return json.dumps(to_dict(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(report: Report) -> dict[str, Any]:
    """The report as plain JSON values, in the order of the table above."""
    return {
        "input": {**_figures(report.input), "packed_bytes": report.input.packed_bytes},
        "output": {**_figures(report.output), "packed_bytes": report.output.packed_bytes},
        "metric": None if report.metric is None else _metric(report.metric),
        "numerics": _all_numerics(report),
        "passes": [_pass(item) for item in report.passes],
        "seed": report.seed,
        "versions": dict(report.versions),
        "timing": None if report.timing is None else plain(asdict(report.timing)),
        "slower_layers": [plain(asdict(layer)) for layer in report.slower_layers],
        "remembered_times": None if report.remembered_times is None else plain(asdict(report.remembered_times)),
        "warnings": list(report.warnings),
        "missed": list(report.missed),
        "source": report.source,
        "target": report.target,
        "spec": report.spec,
        "oldest_onnxruntime": report.oldest_onnxruntime,
        "exit_status": report.exit_status,
    }


def _figures(figures: Figures | None) -> dict[str, Any]:
    keys = ("bytes", "parameters", "nonzero", "macs", "latency_ms")
    return {key: None if figures is None else plain(getattr(figures, key)) for key in keys}


def _metric(metric: MetricChange) -> dict[str, Any]:
    return {
        "name": metric.name,
        "before": plain(metric.before),
        "after": plain(metric.after),
        "samples": metric.samples,
        "real_data": metric.real_data,
        "drop": plain(metric.drop),
        "max_drop": plain(metric.max_drop),
        "stderr": plain(metric.stderr),
    }


def _all_numerics(report: Report) -> dict[str, Any] | None:
    if report.worst is None:
        return None
    return {**_numerics(report.worst), "outputs": {name: numerics_of(n) for name, n in report.numerics.items()}}


def numerics_of(numerics: Numerics) -> dict[str, Any]:
    """All figures of the comparison of one output."""
    keys = (*NUMERICS, "scale", "nonfinite", "mismatched", "problem")
    return {key: plain(getattr(numerics, key)) for key in keys}


def _numerics(numerics: Numerics) -> dict[str, Any]:
    return {key: plain(getattr(numerics, key)) for key in NUMERICS}


def _pass(item: PassReport) -> dict[str, Any]:
    return {
        "name": item.name,
        "options": plain(item.options),
        "effect": item.effect,
        "changed": item.changed,
        "kept": item.kept,
        "reason": item.reason,
        "skips": [{"where": skip.where, "why": skip.why} for skip in item.skips],
        "notes": plain(item.notes),
        "seconds": round(item.seconds, 3),
        **_figures(item.figures),
        "metric": plain(item.metric_after),
        "numerics": None if item.numerics is None else _numerics(item.numerics),
    }


def plain(value: Any) -> Any:
    """`value` as JSON values: NumPy's numbers as Python's, infinities and NaN as null, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
