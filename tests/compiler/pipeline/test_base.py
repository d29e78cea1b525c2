from __future__ import annotations

from dataclasses import dataclass

import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline.base import Effect, Pass, Saving, option
from tests.small_models import small_model


@dataclass(frozen=True, kw_only=True)
class Shrink(Pass):
    """Has a strength that can be given in two ways."""

    name = "shrink"
    effect = Effect.LOSSY
    strength = "ratio"
    other_strengths = ("latency",)
    ratio: float | None = option(None, "share to remove", low=0, high=1)
    latency: float | None = option(None, "share of the time to keep")
    fold: bool = option(True, "a switch")


def test_a_strength_is_open_until_it_is_given_in_one_way():
    assert (Shrink().is_open(), Shrink().is_given()) == (True, False)
    for given in (Shrink(ratio=0.5), Shrink(latency=0.5), Shrink(ratio=0.0)):
        assert (given.is_open(), given.is_given()) == (False, True)


def test_two_ways_at_once_are_refused():
    with pytest.raises(UsageError, match="shrink: 'ratio' and 'latency' both say how strongly to compress"):
        Shrink(ratio=0.5, latency=0.5)


def test_a_value_that_is_not_allowed_is_refused():
    with pytest.raises(UsageError, match="shrink: option 'ratio' lies between 0 and 1, not 2"):
        Shrink(ratio=2)


def test_a_search_sets_the_strength_and_nothing_else():
    for saving in Saving:
        assert Shrink(fold=False).at(0.25, saving=saving) == Shrink(ratio=0.25, fold=False)
    assert Shrink().settled({"widths": []}) == (Shrink(), ())
    assert list(Shrink().ladder(small_model("tied"), None)) == [round(0.05 * k, 2) for k in range(1, 19)]


def test_values_are_the_options_as_set():
    assert dict(Shrink(ratio=0.5).values()) == {"ratio": 0.5, "latency": None, "fold": True}
    assert [info.name for info in Shrink.options()] == ["ratio", "latency", "fold"]


def test_a_pass_without_run_says_so():
    with pytest.raises(NotImplementedError, match=r"pass 'shrink' does not define run\(\)"):
        Shrink().run(small_model("tied"), None)
