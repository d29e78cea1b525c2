from __future__ import annotations

import io

from rich.console import Console

from onnx_compress.compiler.report.plain import hanging, table, written


def drawn(thing, *, width=30, terminal=False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, highlight=False)
    written(console, lambda: console.print(thing))
    return stream.getvalue()


def rows():
    made = table()
    made.add_column("name")
    made.add_column("size", justify="right")
    made.add_row("a", "1")
    made.add_row("longer", "12345")
    return made


def test_columns_are_two_blanks_apart_without_a_frame():
    assert drawn(rows()) == "name     size\na           1\nlonger  12345\n"


def test_a_table_without_headings():
    made = table(header=False)
    made.add_row("a", "b")
    assert drawn(made) == "a  b\n"


def test_lines_that_follow_are_indented_like_the_first():
    assert drawn(hanging("-", "one two three four five six", "")) == "  - one two three four five\n    six\n"


def test_a_terminal_gets_its_colours():
    assert "\x1b[" in drawn(hanging("!", "beware", "red"), terminal=True)
    assert drawn(hanging("!", "beware", "red")) == "  ! beware\n"
