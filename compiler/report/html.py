"""The report as one self-contained HTML page: without scripts, fonts or pictures.

All text from a model or a path is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from onnx_compress.compiler.analysis.cost import Cost, LayerCost
from onnx_compress.compiler.pipeline.run_report import PassReport, Report
from onnx_compress.compiler.report import quantities, verdict
from onnx_compress.compiler.report.rows import NoteTable, changes, comparison, notes_of, outcome, settings_of, tables_of

FEW = 8
"""Most lines for which a list is shown expanded."""
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; --good: #1a7f37; --bad: #cf222e; --alert: #9a6700 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.2rem } h3 { font-size: 1rem; margin-bottom: .3rem }
.verdict { font-size: 1.15rem; font-weight: 600 } code { overflow-wrap: anywhere }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { text-align: left; color: var(--dim); font-weight: 600 }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.number, th.number { text-align: right; white-space: nowrap }
.green { color: var(--good) } .red { color: var(--bad); font-weight: 600 } .dim { color: var(--dim) }
.alert { border-left: 4px solid var(--alert); padding: .3rem .8rem; margin: .6rem 0 }
details { margin: .3rem 0 } li { overflow-wrap: anywhere }
"""


def to_html(report: Report, before: Cost | None = None, after: Cost | None = None) -> str:
    """The page. Given the costs of input and output, it includes a table of their layers."""
    title = f"{Path(report.source).name or 'input'} → {Path(report.target).name or 'output'}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=verdict>{escape(verdict.summary(report))}</p>",
        *(f"<p class=alert>{escape(text)}</p>" for text in verdict.alerts(report)),
        _comparison(report),
        "<h2>Passes</h2>",
        _passes(report),
        *(_pass(item) for item in report.passes),
        _numerics(report),
        _layers(before, after) if before is not None and after is not None else "",
        _footer(report),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    """A table; `rows` hold HTML, `numbers` are the right-aligned columns."""
    kinds = [" class=number" if i in numbers else "" for i in range(len(headings))]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(kinds, headings))
    lines = ["".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row)) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class=scroll><table>\n<tr>{head}</tr>\n{body}\n</table></div>"


def _comparison(report: Report) -> str:
    rows = (
        (escape(row.label), escape(row.before), escape(row.after), _styled(row.change, row.style))
        for row in comparison(report)
    )
    return _table(("", "before", "after", ""), rows, (1, 2))


def _styled(text: str, style: str) -> str:
    return f'<span class="{style}">{escape(text)}</span>' if style else escape(text)


def _passes(report: Report) -> str:
    name = report.metric.name if report.metric else "metric"
    headings = ("pass", "outcome", "places", "size", "parameters", "MACs", "latency", name, "took")
    return _table(headings, (_pass_row(item, name) for item in report.passes), range(2, 9))


def _pass_row(item: PassReport, metric: str) -> list[str]:
    figures = item.figures
    style = "red" if not item.kept else "green" if item.changed else "dim"
    cells = [escape(item.name), _styled(outcome(item), style), str(item.changed)]
    cells += [
        quantities.size(figures.bytes if figures else None),
        quantities.amount(figures.parameters if figures else None),
        quantities.amount(figures.macs if figures else None),
        quantities.milliseconds(figures.latency_ms if figures else None),
    ]
    return [*cells, quantities.metric(metric, item.metric_after), quantities.seconds(item.seconds)]


def _pass(item: PassReport) -> str:
    """A section for one pass: options, reason, numerics, notes, places left alone."""
    lines = [f"<p>{escape(changes(item))}.</p>"]
    if item.reason:
        lines.append(f"<p{'' if item.kept else ' class=red'}>{escape(item.reason)}</p>")
    if item.options:
        lines.append(f"<p class=dim>Options: <code>{escape(settings_of(item))}</code></p>")
    if item.numerics:
        lines.append(f"<p class=dim>Outputs afterwards: {escape(str(item.numerics))}</p>")
    if notes_of(item):
        lines.append(_list("notes", notes_of(item)))
    lines += [_note_table(note) for note in tables_of(item)]
    if item.skips:
        lines.append(_list("places left alone", [f"{skip.where}: {skip.why}" for skip in item.skips]))
    return f"<h3>{escape(item.name)}</h3>\n" + "\n".join(lines)


def _note_table(note: NoteTable) -> str:
    rows = (tuple(map(escape, row)) for row in note.rows)
    is_open = " open" if len(note.rows) <= FEW else ""
    body = _table(note.headings, rows, note.numbers)
    return f"<details{is_open}><summary>{escape(note.title)}: {len(note.rows)}</summary>{body}</details>"


def _list(what: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    is_open = " open" if len(lines) <= FEW else ""
    return f"<details{is_open}><summary>{len(lines)} {what}</summary><ul>{items}</ul></details>"


def _numerics(report: Report) -> str:
    if not report.numerics:
        return ""
    rows = ((f"<code>{escape(name)}</code>", escape(str(item))) for name, item in report.numerics.items())
    return "<h2>Outputs against the original</h2>\n" + _table(("output", "difference"), rows, ())


def _layers(before: Cost, after: Cost) -> str:
    """The layers of the input next to those of the output with the same name; new ones last."""
    earlier, later = _by_name(before), _by_name(after)
    names = [*earlier, *(name for name in later if name not in earlier)]
    headings = ("layer", "operator", "channels", "parameters", "after", "bytes", "after", "MACs", "after")
    rows = (_layer_row(name, earlier.get(name), later.get(name)) for name in names)
    return "<h2>Layers</h2>\n" + _table(headings, rows, range(3, 9))


def _by_name(cost: Cost) -> dict[tuple[str, ...], LayerCost]:
    return {(*layer.path, layer.name): layer for layer in cost.layers}


def _layer_row(name: tuple[str, ...], before: LayerCost | None, after: LayerCost | None) -> list[str]:
    some = after or before
    assert some is not None
    cells = [f"<code>{escape(' / '.join(name))}</code>", escape(some.op), escape(_change(before, after))]
    for field, written in (("parameters", quantities.amount), ("bytes", quantities.size), ("macs", quantities.amount)):
        cells += [written(None if layer is None else getattr(layer, field)) for layer in (before, after)]
    return cells


def _change(before: LayerCost | None, after: LayerCost | None) -> str:
    """'64→128', or '64→128, now 48→96'."""
    texts = [layer.geometry.channels for layer in (before, after) if layer is not None]
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]}, now {texts[1]}"


def _footer(report: Report) -> str:
    made = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines = [f"Pipeline: <code>{escape(report.spec)}</code>"] if report.spec else []
    lines += [f"Seed {report.seed}. {escape(made)}."]
    if report.oldest_onnxruntime:
        lines.append(f"The result loads in onnxruntime {escape(report.oldest_onnxruntime)} or newer.")
    if report.remembered_times is not None:
        lines.append(f"{escape(verdict.remembered(report))}.")
    return "<p class=dim>" + "<br>\n".join(lines) + "</p>"
