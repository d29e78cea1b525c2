from __future__ import annotations

import io

from rich.console import Console

from onnx_compress.compiler.cli import progress


def terminal() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, width=80), stream


def test_no_terminal_no_bars():
    assert progress.bars(Console(file=io.StringIO())) is None


def test_short_work_shows_no_bar():
    console, stream = terminal()
    with progress.bars(console)("calibrate", 3) as advance:
        for _ in range(3):
            advance()
    assert "calibrate" not in stream.getvalue()


def test_longer_work_shows_a_bar_with_its_note(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    console, stream = terminal()
    with progress.bars(console)("calibrate", 3) as advance:
        advance(1, "conv1")
        advance()
    assert "calibrate: conv1" in stream.getvalue()


def test_a_nested_bar_is_another_line_of_the_display(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    console, stream = terminal()
    bars = progress.bars(console)
    with bars("outer", 2) as outer:
        outer()
        with bars("inner", 2) as inner:
            inner()
    assert "outer" in stream.getvalue()
    assert "inner" in stream.getvalue()
