from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.report import reference

PAGE = Path(__file__).parents[3] / "docs" / "passes.md"


@dataclass(frozen=True, kw_only=True)
class Example(Pass):
    """Do something to layers.

    Given   y = Conv(x, w)
    Result  y = Conv(x, w')

    Like this::

        a    b

    ::

        c    d

    =====  ===========
    ab     what a | b
           is
    c      d
    =====  ===========

    The wrong choice for everything.
    """

    name = "example"
    effect = Effect.LOSSY
    strength = "ratio"
    other_strengths = ("latency",)
    per_layer = ("ratio", "kind")
    ratio: float | None = option(None, "share to do | leave", low=0, high=1)
    latency: float | None = option(None, "or this")
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
    assert "Strength: 'ratio' or 'latency'. If left out, it is searched within the budget." in text
    assert "A recipe may set 'ratio' and 'kind' for single layers." in text
    assert "-p example:ratio=0.3 -o" in text


def test_markdown_keeps_columns_of_graphs_and_whole_tables():
    text = reference.markdown([Example], {"ex": "example"})
    assert "| [`example`](#example)<br>`ex` | lossy | Do something to layers. |" in text
    assert "```text\nGiven   y = Conv(x, w)\nResult  y = Conv(x, w')\n```\n" in text
    assert "Like this:\n\n```text\na    b\n```\n\n```text\nc    d\n```\n\n| | |\n|---|---|\n" in text
    assert "| ab | what a \\| b is |\n| c | d |\n\nThe wrong choice" in text
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


def test_the_page_is_up_to_date():
    fresh = reference.markdown(registry.all_passes(), registry.aliases())
    assert PAGE.read_text(encoding="utf-8") == fresh, "onnx-compress passes --markdown > docs/passes.md"
