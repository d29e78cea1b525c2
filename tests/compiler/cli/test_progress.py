from __future__ import annotations

import io

from rich.console import Console

from onnx_compress.compiler.cli import progress


def terminal() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, width=80), stream


def test_no_terminal_no_bars():
    assert progress.bars(Console(file=io.StringIO())) is None


def test_what_takes_less_than_a_second_shows_nothing():
    console, stream = terminal()
    with progress.bars(console)("calibrate", 3) as advance:
        for _ in range(3):
            advance()
    assert "calibrate" not in stream.getvalue()


def test_what_takes_longer_shows_a_bar_with_its_note(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    console, stream = terminal()
    with progress.bars(console)("calibrate", 3) as advance:
        advance(1, "conv1")
        advance()
    assert "calibrate: conv1" in stream.getvalue()


def test_a_bar_inside_a_bar_is_a_further_line_of_it(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    console, stream = terminal()
    bars = progress.bars(console)
    with bars("outer", 2) as outer:
        outer()
        with bars("inner", 2) as inner:
            inner()
    assert "outer" in stream.getvalue()
    assert "inner" in stream.getvalue()
