from __future__ import annotations

from dataclasses import dataclass

import pytest

from onnx_compress.compiler.errors import PassError, UsageError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.execute import Executor, Terms
from onnx_compress.compiler.pipeline.recipe import LayerRule, Step
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.repair.effort import COARSE
from onnx_compress.compiler.runtime.data.synthetic import synthetic
from tests.behaviour import identical
from tests.compiler.pipeline.passes_for_tests import Nudge, classifier
from tests.contexts import FakeJudge

SEEN = []


@dataclass(frozen=True, kw_only=True)
class Act(Pass):
    """Does what its option says."""

    name = "act"
    effect = Effect.LOSSY
    kind: str = option("nothing", "what to do")

    def run(self, model, ctx):
        SEEN.append(ctx)
        return getattr(self, self.kind)(model, ctx)

    def nothing(self, model, ctx):
        ctx.skip("the model", "nothing to do")
        ctx.miss("a target")
        return 0

    def nudge(self, model, ctx):
        return Nudge().run(model, ctx)

    def crash(self, model, ctx):
        raise ZeroDivisionError("a\nb")

    def refuse(self, model, ctx):
        raise UsageError("act: not like this")

    def rename(self, model, ctx):
        model.graph.outputs[0].name = "other"
        return 1

    def invalid(self, model, ctx):
        edit.set_attr(model, next(model.nodes()), "nonsense", 1)
        return 1


def prepared(**settings):
    model = classifier()
    SEEN.clear()
    return model, Executor(model, synthetic(model, samples=4), Settings(**settings)), Terms(FakeJudge(model))


def test_a_pass_runs_on_a_copy():
    model, executor, terms = prepared()
    applied = executor.apply(model, Step(Act(kind="nudge")), terms)
    assert applied.changed == 1
    assert identical(model, classifier())
    assert not identical(applied.model, model)
    assert SEEN[0].model is applied.model
    assert SEEN[0].original is model


def test_a_pass_without_a_change_gives_the_model_itself_with_what_it_said():
    model, executor, terms = prepared()
    applied = executor.apply(model, Step(Act()), terms)
    assert applied.model is model
    assert [skip.why for skip in applied.skips] == ["nothing to do"]
    assert applied.missed == ("a target",)


def test_the_context_has_what_settings_step_and_terms_say():
    model, executor, terms = prepared(seed=5, exclude=("a*",), opset=17)
    step = Step(Act(), (LayerRule("fc", {"kind": "nudge"}),), exclude=("fc",))
    few = executor.data.take(2)
    executor.apply(model, step, Terms(terms.judge, effort=COARSE, data=few))
    (ctx,) = SEEN
    assert (ctx.seed, ctx.opset, ctx.exclude, ctx.pass_name) == (5, 17, ("a*", "fc"), "act")
    assert ctx.overrides == (("fc", {"kind": "nudge"}),)
    assert (ctx.effort, ctx.data, ctx.judge) == (COARSE, few, terms.judge)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("crash", "act: failed with ZeroDivisionError: a b"),
        ("rename", "act: left a broken model: .*output"),
        ("invalid", "act: left a broken model: .*nonsense"),
    ],
)
def test_a_fault_is_the_pass_s(kind, message):
    model, executor, terms = prepared()
    with pytest.raises(PassError, match=message) as caught:
        executor.apply(model, Step(Act(kind=kind)), Terms(terms.judge, before=("simplify",)))
    assert caught.value.pass_name == f"act:kind={kind}"
    assert caught.value.passes_before == ("simplify",)
    assert identical(model, classifier())


def test_what_is_only_timed_is_not_checked():
    model, executor, terms = prepared()
    applied = executor.apply(model, Step(Act(kind="rename")), Terms(terms.judge, is_checked=False))
    assert applied.changed == 1


def test_an_error_of_the_user_s_passes_through():
    model, executor, terms = prepared()
    with pytest.raises(UsageError, match="not like this"):
        executor.apply(model, Step(Act(kind="refuse")), terms)


def test_a_result_is_found_again_as_long_as_somebody_holds_it():
    model, executor, terms = prepared()
    step = Step(Act(kind="nudge"))
    first = executor.recalled(model, step, terms)
    assert executor.recalled(model, step, terms) is first
    assert executor.recalled(model.clone(), step, terms) is first, "a copy is the same model"
    assert executor.recalled(model, step, Terms(terms.judge, effort=COARSE)) is not first
    assert executor.recalled(model, Step(Act(kind="nudge"), exclude=("fc",)), terms) is not first
    runs = len(SEEN)
    del first
    executor.recalled(model, step, terms)
    assert len(SEEN) == runs + 1
