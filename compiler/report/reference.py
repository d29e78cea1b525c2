"""The reference of the passes, generated from their docstrings and option declarations."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import groupby
from textwrap import dedent

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from onnx_compress.compiler.pipeline.base import Pass
from onnx_compress.compiler.pipeline.options import OptionInfo, type_name
from onnx_compress.compiler.report.plain import table

EFFECTS = {
    "exact": "keeps the outputs",
    "lossy": "changes the outputs; judged by the budget",
    "retrain": "trains the weights; needs the [retrain] extra",
}


def show_all(passes: Sequence[type[Pass]], aliases: Mapping[str, str], console: Console) -> None:
    """List the passes by family: name, effect, first line of the docstring."""
    grid = table(header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    for family, members in groupby(sorted(passes, key=_order), _family):
        grid.add_row(Text(family, style="bold"))
        for kind in members:
            grid.add_row(f"  {kind.name}", kind.effect.value, headline(kind))
    console.print(grid)
    if aliases:
        short = ", ".join(f"{alias} is {name}" for alias, name in aliases.items())
        console.print(Text(f"\nShort names: {short}.", style="dim"))
    console.print(Text("'onnx-compress passes NAME' shows one in full.", style="dim"))


def show(kind: type[Pass], console: Console) -> None:
    """Print one pass in full."""
    console.print(Text(kind.name, style="bold").append(f"   {EFFECTS[kind.effect.value]}", style="not bold dim"))
    console.print()
    for paragraph in _paragraphs(kind):
        is_set = _is_set(paragraph)
        console.print(Text(paragraph if is_set else " ".join(paragraph.split())), soft_wrap=is_set)
        console.print()
    options = kind.options()
    if not options:
        console.print(Text("No options."))
        return
    console.print(Text("Options", style="bold"))
    for info in options:
        head = Text(f"  {info.name}", style="bold").append(f" = {_written(info.default)}", style="not bold")
        console.print(head.append(f"   {allowed(info)}", style="not bold dim"))
        console.print(Padding(Text(info.help), (0, 0, 0, 6)))
    for fact in _facts(kind):
        console.print(Text(f"\n{fact}"))
    example = ":".join([kind.name, *(f"{info.name}={_example(info)}" for info in options[:1])])
    console.print(Text(f"\nFor example: onnx-compress model.onnx -p {example} -o small.onnx", style="dim"))


def markdown(passes: Sequence[type[Pass]], aliases: Mapping[str, str]) -> str:
    """The reference of all passes as a page: a table of them, then a section for each."""
    ordered = sorted(passes, key=_order)
    short = {name: alias for alias, name in aliases.items()}
    lines = [_HEAD, "| pass, short name | effect | what it does |", "|---|---|---|"]
    for kind in ordered:
        alias = f"<br>`{short[kind.name]}`" if kind.name in short else ""
        lines.append(f"| [`{kind.name}`](#{kind.name}){alias} | {kind.effect.value} | {headline(kind)} |")
    return "\n".join([*lines, "", *map(_section, ordered)])


_HEAD = """\
# Passes

<!-- Written by `onnx-compress passes --markdown` from the docstrings of the passes: change those. -->

On the command line options follow the name: `-p prune-channels:ratio=0.3:criterion=l1,quantize-int8`. In a recipe they
are keys of a `[[pass]]`. *Exact* passes keep the outputs, *lossy* ones are measured and judged by the budget.
"""


def headline(kind: type[Pass]) -> str:
    """The first line of a pass's specification."""
    return inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]


def allowed(info: OptionInfo) -> str:
    """The allowed values of an option."""
    if info.choices is not None:
        alternatives = ", ".join(map(str, info.choices))
        return f"{alternatives} or none" if type_name(info).endswith("or none") else alternatives
    kind = type_name(info)
    if info.low is None and info.high is None:
        return kind
    if info.high is None:
        return f"{kind}, at least {info.low:g}"
    return f"{kind}, at most {info.high:g}" if info.low is None else f"{kind}, {info.low:g} to {info.high:g}"


def _section(kind: type[Pass]) -> str:
    lines = [f"## {kind.name}", "", f"*{kind.effect.value}: {EFFECTS[kind.effect.value]}*", ""]
    lines += ["\n\n".join(map(_set, _paragraphs(kind))), ""]
    if kind.options():
        lines += ["| option | default | values | |", "|---|---|---|---|"]
        lines += [
            f"| `{info.name}` | {_written(info.default)} | {_cell(allowed(info))} | {_cell(info.help)} |"
            for info in kind.options()
        ]
        lines.append("")
    lines += [line for fact in _facts(kind, "`") for line in (fact, "")]
    return "\n".join(lines)


def _facts(kind: type[Pass], mark: str = "'") -> list[str]:
    """Sentences on options that the budget or a recipe may set; `mark` quotes their names."""
    strengths = [f"{mark}{name}{mark}" for name in (kind.strength, *kind.other_strengths) if name]
    layers = [f"{mark}{name}{mark}" for name in kind.per_layer]
    found = []
    if kind.strength is not None:
        found.append(f"Strength: {' or '.join(strengths)}. If left out, it is searched within the budget.")
    elif strengths:
        found.append(f"Strength: {' or '.join(strengths)}.")
    if layers:
        found.append(f"A recipe may set {' and '.join(layers)} for single layers.")
    return found


def _paragraphs(kind: type[Pass]) -> list[str]:
    """The paragraphs of a pass's docstring, without the '::' in front of blocks."""
    parts = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    return [f"{part[:-1]}" if part.endswith("::") else part for part in parts if part != "::"]


def _set(paragraph: str) -> str:
    """A paragraph as Markdown."""
    if paragraph.startswith("==="):
        return _table(paragraph.splitlines())
    return f"```text\n{dedent(paragraph)}\n```" if _is_set(paragraph) else paragraph


def _table(lines: Sequence[str]) -> str:
    """A table of two columns between rulers, as Markdown; a line with an empty first cell continues the row above."""
    second = lines[0].index(" =") + 1
    rows: list[list[str]] = []
    for line in lines[1:-1]:
        first, rest = line[:second].strip(), line[second:].strip()
        if first:
            rows.append([first, rest])
        else:
            rows[-1][1] += f" {rest}"
    return "\n".join(["| | |", "|---|---|", *(f"| {_cell(first)} | {_cell(rest)} |" for first, rest in rows)])


def _is_set(paragraph: str) -> bool:
    """Whether the paragraph is graph text, algebra or a table, whose columns must be preserved."""
    return any("  " in line.strip() or line.startswith("  ") for line in paragraph.splitlines())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _family(kind: type[Pass]) -> str:
    """The family of a pass: the name of its folder."""
    return kind.__module__.split(".")[-2]


def _order(kind: type[Pass]) -> tuple[int, str, str]:
    """Exact families first, then by family and name."""
    return list(EFFECTS).index(kind.effect.value), _family(kind), kind.name


def _written(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _example(info: OptionInfo) -> str:
    """A value for the example: the default, or an allowed one if the default is none."""
    if info.default is not None:
        return _written(info.default)
    if info.choices:
        return str(info.choices[0])
    return "0.3" if float in getattr(info.type, "__args__", ()) else "1"
