from __future__ import annotations

from dataclasses import dataclass

from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.recipe import LayerRule, Step
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.pipeline.stages import Stages, segments, with_companions
from onnx_compress.passes.prune.prune_blocks import PruneBlocks
from onnx_compress.passes.prune.prune_channels import PruneChannels
from tests.compiler.pipeline.passes_for_tests import Blur, Idle, Unblur, Wrong


@dataclass(frozen=True, kw_only=True)
class Warmup(Idle):
    """Prepare the next pass."""

    name = "warmup"
    prepares = True


def names(steps):
    return [step.item.name for step in steps]


def cut(*passes):
    return [names(part) for part in segments([Step(item) for item in passes])]


def test_simplify_runs_first_and_encode_last_unless_raw():
    steps = [Step(Idle())]
    assert names(Stages.of(steps, Settings()).whole) == ["simplify", "idle", "encode"]
    assert names(Stages.of(steps, Settings(raw=True)).whole) == ["idle"]


def test_a_simplify_and_an_encode_of_the_users_own_are_not_doubled():
    own = [Step(registry.find("simplify")()), Step(Idle()), Step(registry.find("encode")(form="sparse"))]
    for settings in (Settings(), Settings(raw=True)):
        stages = Stages.of(own, settings)
        assert stages.whole == tuple(own)
        assert (stages.first, stages.last) == (own[0], own[2])


def test_simplify_between_other_passes_is_a_step_like_any_other():
    between = [Step(Idle()), Step(registry.find("simplify")()), Step(Idle())]
    assert Stages.of(between, Settings(raw=True)).first is None


def test_a_repair_ends_a_run_of_lossy_passes_whatever_exact_ones_stand_between():
    assert cut(Blur(), Wrong(), Idle(), Unblur(), Blur()) == [["blur", "wrong", "idle", "unblur"], ["blur"]]


def test_without_a_repair_each_lossy_pass_is_judged_by_itself():
    assert cut(Wrong(), Blur(), Wrong(), Idle()) == [["wrong"], ["blur"], ["wrong"], ["idle"]]


def test_a_pass_that_prepares_is_judged_with_the_next_lossy_one():
    assert cut(Warmup(), Wrong(), Blur(), Idle()) == [["warmup", "wrong", "blur"], ["idle"]]
    assert cut(Blur(), Warmup()) == [["blur"], ["warmup"]]


def test_an_open_strength_brings_its_companions():
    rules = (LayerRule("conv", {"ratio": 0.0}),)
    steps, implied = with_companions([Step(Idle()), Step(PruneChannels(), rules)])
    assert names(steps) == ["idle", "prune-blocks", "prune-channels"]
    assert implied == [1]
    assert steps[1].layers == rules


def test_a_given_strength_or_a_companion_that_is_named_brings_none():
    assert with_companions([Step(PruneChannels(ratio=0.3))])[1] == []
    named = [Step(PruneBlocks(ratio=0.1)), Step(PruneChannels())]
    assert with_companions(named) == (named, [])
