"""Progress bars on stderr, for work that takes more than a second, and only on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

PATIENCE = 1.0
"""Seconds before a bar is shown."""

Advance = Callable[..., None]
Bars = Callable[[str, int], AbstractContextManager[Advance]]


def bars(console: Console) -> Bars | None:
    """A function that makes bars on `console`; None if that is not a terminal."""
    if not console.is_terminal:
        return None
    shown: list[Progress] = []

    @contextmanager
    def bar(label: str, total: int) -> Iterator[Advance]:
        """One bar; a nested one is another line of the same display."""
        if shown:
            yield _line(shown[-1], label, total)
            return
        display = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        shown.append(display)
        try:
            yield _line(display, label, total)
        finally:
            shown.pop()
            display.stop()

    return bar


def _line(display: Progress, label: str, total: int) -> Advance:
    task = display.add_task(label, total=total)
    started = time.monotonic()

    def advance(done: int = 1, note: str = "") -> None:
        if note:
            display.update(task, description=f"{label}: {note}")
        display.advance(task, done)
        if display.finished:
            display.stop()
        elif not display.live.is_started and time.monotonic() - started > PATIENCE:
            display.start()

    return advance
