from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline.options import option, options_of, type_name


@dataclass
class Declared:
    """One option of each kind."""

    ratio: float | None = option(None, "a share", low=0, high=1)
    bits: int = option(4, "bits", choices=(2, 4, 8))
    word: str = option("fast", "a word", choices=("fast", "slow"))
    fold: bool = option(True, "a switch")
    least: int = option(1, "a bound", low=1)
    most: float = option(0.5, "a bound", high=0.9)
    globs: tuple[str, ...] = option((), "words")
    file: str | Path | None = option(None, "a file")


OPTIONS = {info.name: info for info in options_of(Declared)}


def test_options_stand_in_order_with_their_defaults_and_help():
    assert list(OPTIONS) == ["ratio", "bits", "word", "fold", "least", "most", "globs", "file"]
    assert (OPTIONS["bits"].default, OPTIONS["bits"].help, OPTIONS["bits"].choices) == (4, "bits", (2, 4, 8))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ratio", None),
        ("ratio", 0),
        ("ratio", 1.0),
        ("bits", 8),
        ("word", "slow"),
        ("fold", False),
        ("least", 1),
        ("most", -3.0),
        ("globs", ("a", "b*")),
        ("file", "x.json"),
        ("file", Path("x.json")),
    ],
)
def test_what_is_allowed(name, value):
    OPTIONS[name].check(value, "here")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ratio", "half", "here: option 'ratio' takes a number or none, not 'half'"),
        ("ratio", True, "takes a number or none, not True"),
        ("ratio", 1.5, "option 'ratio' lies between 0 and 1, not 1.5"),
        ("ratio", float("nan"), "lies between 0 and 1, not nan"),
        ("bits", 3, "option 'bits' is one of 2, 4, 8, not 3"),
        ("bits", 4.0, "takes a whole number, not 4.0"),
        ("bits", True, "takes a whole number, not True"),
        ("bits", None, "takes a whole number, not None"),
        ("word", "quick", "is one of fast, slow, not 'quick'|is one of fast, slow, not quick"),
        ("fold", 1, "takes true or false, not 1"),
        ("least", 0, "option 'least' is 1 or more, not 0"),
        ("most", 1.0, "option 'most' is at most 0.9, not 1.0"),
        ("globs", ["a"], "takes a list of words"),
        ("globs", ("a", 1), "takes a list of words"),
        ("file", 3, "takes a word or a path or none, not 3"),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(name, value, message):
    with pytest.raises(UsageError, match=message):
        OPTIONS[name].check(value, "here")


def test_types_have_readable_names():
    assert type_name(OPTIONS["ratio"]) == "a number or none"
    assert type_name(OPTIONS["fold"]) == "true or false"
