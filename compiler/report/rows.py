"""The content of the report, row by row, for the terminal and the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnx_compress.compiler.pipeline.run_report import PassReport, Report
from onnx_compress.compiler.report import quantities, verdict
from onnx_compress.compiler.report.document import plain

LONGEST_NOTE = 400


@dataclass(frozen=True)
class Row:
    """A quantity before and after; `style` is '', 'green' for a gain or 'red' for a loss."""

    label: str
    before: str
    after: str
    change: str
    style: str = ""


def comparison(report: Report) -> list[Row]:
    """Size, parameters, MACs, latency and metric, before and after, with the ratio of each."""
    before, after = report.input, report.output
    rows = [
        _counted("file size", before.bytes, after.bytes, quantities.size),
        *_packed(report),
        _counted("parameters", before.parameters, after.parameters, quantities.amount),
    ]
    if (before.nonzero, after.nonzero) != (before.parameters, after.parameters):
        rows.append(_counted("non-zero", before.nonzero, after.nonzero, quantities.amount))
    rows.append(_counted("MACs", before.macs, after.macs, quantities.amount))
    rows += [*_latency(report), *_metric(report)]
    return rows


def _packed(report: Report) -> Iterator[Row]:
    before, after = report.input.packed_bytes, report.output.packed_bytes
    if after is not None:
        yield _counted("packed", before, after, quantities.size)


def _counted(label: str, before: int | None, after: int | None, written: Callable[[int | None], str]) -> Row:
    style = "" if not before or after is None or after == before else "green" if after < before else "red"
    return Row(label, written(before), written(after), quantities.ratio(before, after), style)


def _latency(report: Report) -> Iterator[Row]:
    before, after = report.input.latency_ms, report.output.latency_ms
    if before is None and after is None:
        return
    change = quantities.ratio(before, after)
    if report.timing is not None:
        change = f"{report.timing.ratio:.2f}×"
        threads = f"{report.timing.threads} thread{'s' if report.timing.threads != 1 else ''}"
        change += f" ± {report.timing.ratio_spread:.2f}, {threads}, batch {report.timing.batch}"
    style = {-1: "green", 0: "", 1: "red"}[verdict.latency_trend(report)]
    yield Row("latency", quantities.milliseconds(before), quantities.milliseconds(after), change, style)


def _metric(report: Report) -> Iterator[Row]:
    metric = report.metric
    if metric is None:
        return
    change = f"{quantities.points(-metric.drop, signed=True)} points"
    if metric.max_drop is not None:
        change += f" (may cost {quantities.points(metric.max_drop)})"
    if not metric.real_data:
        change += ", on synthetic inputs"
    style = "red" if metric.max_drop is not None and metric.drop > metric.max_drop else ""
    before, after = (quantities.metric(metric.name, value) for value in (metric.before, metric.after))
    yield Row(metric.name, before, after, change, style)
    if metric.real_data and verdict.error_bar(metric):
        yield Row("", "", "", verdict.error_bar(metric))


def outcome(item: PassReport) -> str:
    """The outcome of a pass in at most two words."""
    if not item.kept:
        return "ROLLED BACK"
    return "kept" if item.changed else "no change"


def changes(item: PassReport) -> str:
    """'prune-channels changed 9 places'."""
    places = "1 place" if item.changed == 1 else f"{item.changed} places"
    return f"{item.name} {'changed' if item.kept else 'would have changed'} {places}"


def settings_of(item: PassReport) -> str:
    """The options that a pass ran with; empty if it has none."""
    return ", ".join(f"{name}={_written(value)}" for name, value in item.options.items())


def notes_of(item: PassReport) -> list[str]:
    """The notes of a pass that are not tables, one line each; long ones are cut (the JSON report is complete)."""
    lines = {name: value for name, value in item.notes.items() if not _is_table(value)}
    return [f"{_heading(name)}: {_written(plain(value))}" for name, value in lines.items()]


@dataclass(frozen=True)
class NoteTable:
    """A note with a row per layer, as text; the columns `numbers` are right-aligned."""

    title: str
    headings: tuple[str, ...]
    numbers: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]


def tables_of(item: PassReport) -> list[NoteTable]:
    """The notes of a pass that are lists of rows."""
    return [_note_table(name, plain(value)) for name, value in item.notes.items() if _is_table(value)]


def _is_table(value: Any) -> bool:
    rows = value if isinstance(value, (list, tuple)) else ()
    return bool(rows) and all(
        isinstance(row, Mapping) and not any(isinstance(cell, (Mapping, list, tuple)) for cell in row.values())
        for row in rows
    )


def _note_table(name: str, rows: list[dict[str, Any]]) -> NoteTable:
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    numbers = tuple(i for i, column in enumerate(columns) if all(not isinstance(row.get(column), str) for row in rows))
    cells = tuple(tuple(_cell(row.get(column)) for column in columns) for row in rows)
    return NoteTable(_heading(name), tuple(map(_heading, columns)), numbers, cells)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return quantities.ABSENT if value is None else value if isinstance(value, str) else json.dumps(value)


def _heading(name: str) -> str:
    return name.replace("_", " ")


def _written(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_NOTE else f"{text[:LONGEST_NOTE]}…"
