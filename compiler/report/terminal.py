"""The report on a terminal: before and after, a row per pass, places left alone, and a final summary.

It fits into 80 columns. In a pipe or a log it is plain text without colours or frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_compress.compiler.pipeline.run_report import PassReport, Report
from onnx_compress.compiler.report import quantities, verdict
from onnx_compress.compiler.report.plain import INDENT, hanging, table, written
from onnx_compress.compiler.report.rows import (
    NoteTable,
    Row,
    changes,
    comparison,
    notes_of,
    outcome,
    settings_of,
    tables_of,
)

FEW_REASONS = 4
FEW_PLACES = 2


def show(report: Report, console: Console, *, verbose: bool = False) -> None:
    """Print the whole report."""
    written(console, lambda: _show(report, console, verbose=verbose))


def _show(report: Report, console: Console, *, verbose: bool) -> None:
    console.print(_title(report))
    console.print()
    console.print(_comparison(comparison(report)))
    if report.passes:
        console.print()
        console.print(_passes(report))
        _remarks(report, console, verbose=verbose)
    _numerics(report, console, verbose=verbose)
    if report.remembered_times is not None:
        console.print(Text(verdict.remembered(report), style="dim"))
    for text in verdict.alerts(report):
        console.print()
        console.print(hanging("!", text, "yellow"))
    console.print()
    console.print(Text(verdict.summary(report), style="bold"))


def _title(report: Report) -> Text:
    source, target = Path(report.source).name or "input", Path(report.target).name or "output"
    title = Text(f"{source} → {target}", style="bold")
    return title.append(f"   {report.spec}", style="not bold dim") if report.spec else title


def _comparison(rows: Iterable[Row]) -> Table:
    grid = table()
    grid.add_column("", no_wrap=True)
    for heading in ("before", "after"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("")  # the only column that may wrap, so that no figure is cut
    for row in rows:
        grid.add_row(row.label, row.before, row.after, Text(row.change, style=row.style))
    return grid


def _passes(report: Report) -> Table:
    grid = table()
    grid.add_column("pass", overflow="fold")
    grid.add_column("outcome", no_wrap=True)
    metric = report.metric
    for heading in ("size", "MACs", "latency", *(("metric",) if metric else ()), "took"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for item in report.passes:
        cells = _figures(item)
        if metric is not None:
            cells.append(quantities.metric(metric.name, item.metric_after))
        style = "red bold" if not item.kept else "green" if item.changed else "dim"
        grid.add_row(item.name, Text(outcome(item), style=style), *cells, quantities.seconds(item.seconds))
    return grid


def _figures(item: PassReport) -> list[str]:
    if item.figures is None:
        return [quantities.ABSENT] * 3
    return [
        quantities.size(item.figures.bytes),
        quantities.short(item.figures.macs),
        quantities.milliseconds(item.figures.latency_ms),
    ]


def _remarks(report: Report, console: Console, *, verbose: bool) -> None:
    """For each pass with remarks: why it was rolled back or kept, and what it left alone."""
    for item in report.passes:
        lines = [*([item.reason] if item.reason else []), *_skips(item, verbose=verbose)]
        if verbose:
            lines = [*([settings_of(item)] if item.options else []), *lines, *notes_of(item)]
        tables = tables_of(item) if verbose else []
        if not lines and not tables:
            continue
        console.print()
        console.print(Text(changes(item)))
        for line in lines:
            console.print(hanging("-", line, ""))
        for note in tables:
            console.print(hanging("-", f"{note.title}:", ""))
            console.print(Padding(_note_table(note), (0, 0, 0, 2 * INDENT)))


def _note_table(note: NoteTable) -> Table:
    grid = table()
    for i, heading in enumerate(note.headings):
        is_number = i in note.numbers
        grid.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in note.rows:
        grid.add_row(*map(Text, row))
    return grid


def _skips(item: PassReport, *, verbose: bool) -> list[str]:
    """Places left alone: each with its reason, or per reason the first ones and how many more."""
    if verbose:
        return [f"left alone {skip.where}: {skip.why}" for skip in item.skips]
    places: dict[str, list[str]] = {}
    for skip in item.skips:
        places.setdefault(skip.why, []).append(skip.where)
    lines = [f"left alone {_first(where)}: {why}" for why, where in list(places.items())[:FEW_REASONS]]
    hidden = sum(len(where) for where in list(places.values())[FEW_REASONS:])
    return [*lines, f"and {hidden} more for other reasons (-v lists all)"] if hidden else lines


def _first(places: list[str]) -> str:
    more = len(places) - FEW_PLACES
    return ", ".join(places[:FEW_PLACES]) + (f" and {more} more" if more > 0 else "")


def _numerics(report: Report, console: Console, *, verbose: bool) -> None:
    """The difference of the outputs from the original's: the worst one, or all of them."""
    worst = report.worst
    if worst is None:
        return
    console.print()
    for name, item in report.numerics.items():
        if verbose or item is worst:
            console.print(Text(f"output '{name}': {item}", style="dim"))
