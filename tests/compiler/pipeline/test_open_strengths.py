"""Several open strengths, the passes around them, and the report of the search."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, replace

import pytest

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline import manager
from onnx_compress.compiler.pipeline.base import Saving
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.pipeline.datasets import datasets
from onnx_compress.compiler.pipeline.execute import Executor
from onnx_compress.compiler.pipeline.recipe import LayerRule, Step
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.repair.effort import FULL, MODERATE
from tests.compiler.pipeline.passes_for_tests import Blur, Idle, Nudge, Unblur, classifier, labelled

RAW = Settings(raw=True)


@pytest.fixture(autouse=True)
def _own_latency_table(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@dataclass(frozen=True, kw_only=True)
class Efforts(Idle):
    """Note how much each run may take."""

    name = "efforts"
    seen = []  # noqa: RUF012

    def run(self, model: Model, ctx: Context) -> int:
        self.seen.append(ctx.effort)
        return super().run(model, ctx)


@dataclass(frozen=True, kw_only=True)
class Train(Unblur):
    """A repair that a search does without."""

    name = "train"
    stand_in = "simplify"
    runs = []  # noqa: RUF012

    def run(self, model: Model, ctx: Context) -> int:
        self.runs.append(ctx.effort)
        return super().run(model, ctx)


def run(*passes, settings=RAW, model=None):
    model = model or classifier()
    steps = [item if isinstance(item, Step) else Step(item) for item in passes]
    data, held_out = datasets(model, labelled(), None, {}, settings.seed)
    return manager.compress(model, steps, data=data, held_out=held_out, settings=settings)


def test_the_trial_that_won_is_the_result(monkeypatch):
    applied = []
    inner = Executor.apply

    def apply(self, model, step, terms):
        applied.append((repr(step), terms.effort))
        return inner(self, model, step, terms)

    monkeypatch.setattr(Executor, "apply", apply)
    outcome = run(Blur())
    ratio = outcome.report.passes[0].options["ratio"]
    assert applied.count((repr(Step(Blur(ratio=ratio))), FULL)) == 1
    assert len(set(applied)) == len(applied)


def test_the_seconds_of_the_search_are_the_passes():
    record = run(Blur()).report.passes[0]
    trials = record.notes["tried"]
    assert len(trials) >= 4
    assert record.seconds == pytest.approx(sum(trial["seconds"] for trial in trials), abs=0.1 * len(trials))


def test_candidates_are_compared_with_little_effort_and_the_last_ones_in_full():
    Efforts.seen.clear()
    run(Blur(), Efforts())
    assert Efforts.seen[0] is FULL, "what the other passes give by themselves"
    assert Efforts.seen[-1] is FULL
    assert MODERATE in Efforts.seen


def test_a_search_runs_a_stand_in_for_training():
    Train.runs.clear()
    outcome = run(Blur(), Train(), settings=replace(RAW, max_drop=0.5))
    assert all(record.kept for record in outcome.report.passes)
    assert set(Train.runs) == {FULL}


def test_a_search_that_finds_nothing_leaves_the_fixed_passes_in_their_order():
    outcome = run(Blur(ratio=1.0), Blur(), Nudge(), settings=replace(RAW, max_drop=0.5))
    names = [(record.name, record.kept) for record in outcome.report.passes]
    assert names == [("blur", False), ("blur", True), ("nudge", True)]
    costly = run(Nudge(), Blur(), Blur(ratio=1.0))
    assert [record.name for record in costly.report.passes] == ["nudge", "blur", "blur"]
    assert "the other passes alone cost" in costly.report.passes[1].reason


def test_exact_passes_do_not_end_a_stretch_with_open_strengths():
    from onnx_compress.compiler.pipeline import registry

    outcome = run(Blur(), registry.find("simplify")(), Blur(ratio=0.2))
    assert [record.name for record in outcome.report.passes] == ["blur", "simplify", "blur"]
    assert outcome.report.metric.drop <= 1.0
    assert outcome.report.passes[0].options["ratio"] < run(Blur()).report.passes[0].options["ratio"]


def test_equal_steps_are_not_taken_for_each_other():
    repeated = run(Blur(ratio=0.3), Nudge(), Blur(ratio=0.3), Unblur())
    assert [record.name for record in repeated.report.passes] == ["blur", "nudge", "blur", "unblur"]
    assert repeated.report.metric.drop == 0


def test_rules_for_layers_hold_in_every_trial():
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Ruled(Blur):
        name = "ruled"
        per_layer = ("ratio",)

        def run(self, model: Model, ctx: Context) -> int:
            seen.append(ctx.override(model.graph.nodes[0]))
            return super().run(model, ctx)

    run(Step(Ruled(), (LayerRule("fc", {"ratio": 0.1}),)))
    assert len(seen) > 3
    assert all(rule == {"ratio": 0.1} for rule in seen)


def test_a_requested_pass_that_did_nothing_is_missed():
    report = run(Idle()).report
    assert report.missed == ("idle: it changed nothing: there is nothing to do",)
    assert report.exit_status == 3


def test_a_pass_runs_others_with_options_for_single_layers():
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Inner(Blur):
        name = "inner"

        def run(self, model: Model, ctx: Context) -> int:
            seen.append((self.ratio, ctx.override(model.graph.nodes[0])))
            return super().run(model, ctx)

    @dataclass(frozen=True, kw_only=True)
    class Outer(Idle):
        name = "outer"

        def run(self, model: Model, ctx: Context) -> int:
            step = Step(Inner(ratio=0.1), (LayerRule("fc", {"ratio": 0.3}),))
            return ctx.run([step, "simplify", Step(Inner(ratio=0.2))])

    assert run(Outer()).report.passes[0].changed >= 2
    assert seen == [(0.1, {"ratio": 0.3}), (0.2, {})]


def test_candidates_are_gone_once_they_are_measured(monkeypatch):
    made, most = [], []

    @dataclass(frozen=True, kw_only=True)
    class Watched(Blur):
        name = "watched"

        def run(self, model: Model, ctx: Context) -> int:
            gc.collect()
            most.append(sum(ref() is not None for ref in made))
            made.append(weakref.ref(model))
            return super().run(model, ctx)

    run(Watched())
    assert len(made) >= 4
    assert max(most) <= 1


def test_savings_of_time_and_bytes_have_their_own_searches():
    assert Blur.saving is Saving.BYTES
    item = Blur()
    assert item.at(0.3, saving=Saving.TIME) == item.at(0.3, saving=Saving.BYTES) == Blur(ratio=0.3)
