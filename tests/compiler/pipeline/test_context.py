from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.pipeline.context import Skip
from onnx_compress.compiler.pipeline.recipe import Step
from tests.compiler.pipeline.passes_for_tests import Blur, Nudge, classifier
from tests.contexts import context

OVERRIDES = (("f*", {"ratio": 0.5, "fold": False}), ("fc", {"ratio": 0.25}))


def made(**options):
    return context(Blur(), classifier(), **options)


def test_random_numbers_are_the_same_at_every_call_and_others_for_another_pass_or_seed():
    ctx = made()
    first = ctx.rng.random(4)
    np.testing.assert_array_equal(ctx.rng.random(4), first)
    for other in (replace(ctx, seed=1), replace(ctx, pass_name="nudge")):
        assert (other.rng.random(4) != first).all()


def test_the_last_matching_override_wins_name_by_name():
    ctx = made(overrides=OVERRIDES)
    node = next(ctx.model.nodes())
    assert ctx.override(node) == {"ratio": 0.25, "fold": False}
    assert made(overrides=(("x*", {"ratio": 0.5}),)).override(node) == {}


@pytest.mark.parametrize(("globs", "excluded"), [(("fc",), True), (("f*", "x"), True), (("x",), False), ((), False)])
def test_exclusion_goes_by_globs(globs, excluded):
    ctx = made(exclude=globs)
    assert ctx.is_excluded(next(ctx.model.nodes())) == excluded


def test_refusals_name_their_place():
    ctx = made()
    ctx.skip(next(ctx.model.nodes()), "too small")
    ctx.skip("the model", "no data")
    ctx.miss("the target")
    assert ctx.skips == [Skip("MatMul 'fc'", "too small"), Skip("the model", "no data")]
    assert ctx.missed == ["the target"]


def test_results_are_remembered_by_all_that_they_depend_on():
    ctx = made(overrides=OVERRIDES)
    calls = []

    def result(of, key="table"):
        return of.remember(key, lambda: calls.append(1) or len(calls))

    assert [result(ctx), result(ctx)] == [1, 1]
    others = [
        replace(ctx, seed=1),
        replace(ctx, exclude=("fc",)),
        replace(ctx, overrides=OVERRIDES[:1]),
        replace(ctx, data=ctx.data.take(3)),
        replace(ctx, pass_name="nudge"),
    ]
    assert [result(other) for other in others] == [2, 3, 4, 5, 6]
    assert result(ctx, "other") == 7
    node = next(ctx.model.nodes())
    edit.set_weight(ctx.model, node, 1, 2 * input_value(node, 1))
    assert result(ctx) == 8


def test_other_passes_run_on_the_same_model(monkeypatch):
    from onnx_compress.compiler.pipeline import registry

    monkeypatch.setattr(registry, "find", {"nudge": Nudge, "blur": Blur}.__getitem__)
    ctx = made()
    before = input_value(next(ctx.model.nodes()), 1).copy()
    assert ctx.run("nudge,nudge") == 2
    assert ctx.run(Step(Blur(ratio=0.5))) == 1
    assert (input_value(next(ctx.model.nodes()), 1) != before).any()


def test_a_context_without_an_executor_runs_nothing():
    with pytest.raises(ValueError, match="this context can't run other passes"):
        replace(made(), run_steps=None).run("nudge")


def test_progress_goes_to_the_bar_where_there_is_one():
    seen = []

    @contextmanager
    def bar(label, total):
        seen.append((label, total))
        yield lambda done=1, note="": seen.append((done, note))

    with replace(made(), bars=bar).progress("layers", 2) as advance:
        advance()
        advance(2, "last")
    with made().progress("layers", 2) as advance:
        advance()
    assert seen == [("layers", 2), (1, ""), (2, "last")]
