"""Several open strengths, the passes around them, and the report of the search."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Saving
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.pipeline.execute import Executor
from onnx_compress.compiler.pipeline.recipe import LayerRule, Step
from onnx_compress.compiler.repair.effort import FULL
from tests.compiler.pipeline.passes_for_tests import Blur, Idle, Nudge, Unblur
from tests.compiler.pipeline.runs import RAW, run


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


def test_savings_of_time_and_bytes_have_their_own_searches():
    assert Blur.saving is Saving.BYTES
    item = Blur()
    assert item.at(0.3, saving=Saving.TIME) == item.at(0.3, saving=Saving.BYTES) == Blur(ratio=0.3)
