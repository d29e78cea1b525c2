from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, replace

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.pipeline.recipe import LayerRule, Step
from onnx_compress.compiler.pipeline.rehearsal import Unlimited
from onnx_compress.compiler.repair.effort import FULL, MODERATE
from tests.compiler.pipeline.passes_for_tests import Blur, Idle, Unblur
from tests.compiler.pipeline.runs import RAW, run


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


def test_an_unlimited_judge_measures_and_allows_everything():
    class Strict:
        max_drop = 1.0

        def drop(self, model):
            return 5.0

    judge = Unlimited(Strict())
    assert judge.drop(None) == 5.0
    assert judge.max_drop == float("inf")
