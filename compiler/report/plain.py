"""Layout on a terminal: tables without frames, hanging paragraphs, no trailing blanks."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

INDENT = 2


def written(console: Console, draw: Callable[[], None]) -> None:
    """Run `draw`, which prints on `console`; if that is not a terminal, strip the blanks that pad tables."""
    if console.is_terminal:
        draw()
        return
    with console.capture() as captured:
        draw()
    lines = [line.rstrip() for line in captured.get().splitlines()]
    console.file.write("\n".join(lines) + "\n")


def table(*, header: bool = True) -> Table:
    """A table without a frame, its columns two blanks apart."""
    return Table(box=None, pad_edge=False, padding=(0, INDENT, 0, 0), header_style="bold dim", show_header=header)


def hanging(mark: str, text: str, style: str) -> Padding:
    """`text` behind a mark, with the following lines indented like the first."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style=style), Text(text, style=style))
    return Padding(grid, (0, 0, 0, INDENT))
