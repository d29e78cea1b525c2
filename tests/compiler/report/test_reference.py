from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from onnx_compress.compiler.cli.passes import BEGIN, END, updated
from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.report import reference

README = Path(__file__).parents[3] / "README.md"


@dataclass(frozen=True, kw_only=True)
class Example(Pass):
    """Do something to layers.

    Given   y = Conv(x, w)
    Result  y = Conv(x, w')

    Like this::

        a    b

    ::

        c    d

    The wrong choice for everything.
    """

    name = "example"
    effect = Effect.LOSSY
    strength = "ratio"
    ratio: float | None = option(None, "share to do | leave", low=0, high=1)
    kind: str = option("l1", "norm", choices=("l1", "l2"))
    bits: int = option(8, "how wide", choices=(4, 8))
    rounds: int = option(2, "how often", low=1)
    deep: bool = option(False, "also inside")


def printed(draw) -> str:
    stream = io.StringIO()
    draw(Console(file=stream, width=80, highlight=False))
    return stream.getvalue()


def test_a_pass_in_full_says_all_about_its_options():
    text = printed(lambda console: reference.show(Example, console))
    assert text.startswith("example   changes the outputs; judged by the budget\n\nDo something to layers.\n")
    assert "ratio = none   a number or none, 0 to 1\n      share to do | leave" in text
    assert "kind = l1   l1, l2" in text
    assert "bits = 8   4, 8\n" in text
    assert "rounds = 2   a whole number, at least 1" in text
    assert "deep = false   true or false" in text
    assert "-p example:ratio=0.3 -o" in text


def test_markdown_keeps_graphs_as_they_are_set_and_tables_whole():
    text = reference.markdown([Example])
    assert "```text\nGiven   y = Conv(x, w)\nResult  y = Conv(x, w')\n```\n" in text
    assert "Like this:\n\n```text\n    a    b\n```\n\n```text\n    c    d\n```\n\nThe wrong choice" in text
    assert "::" not in text
    assert "| `ratio` | none | a number or none, 0 to 1 | share to do \\| leave |" in text


def test_every_pass_is_listed_with_its_first_line():
    passes = registry.all_passes()
    assert passes
    text = re.sub(r"\s+", " ", printed(lambda console: reference.show_all(passes, registry.aliases(), console)))
    for kind in passes:
        assert f" {kind.name} {kind.effect.value} " in text
    for alias, name in registry.aliases().items():
        assert f"{alias} is {name}" in text


def test_the_readme_is_up_to_date():
    text = README.read_text(encoding="utf-8")
    assert BEGIN in text
    assert END in text
    fresh = updated(text, reference.markdown(registry.all_passes()), README)
    assert text == fresh, "refresh it: onnx-compress passes --into README.md"
