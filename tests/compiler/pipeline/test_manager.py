from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnx_compress.compiler.errors import ModelError, PassError, UsageError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import manager, registry
from onnx_compress.compiler.pipeline.base import Pass
from onnx_compress.compiler.pipeline.datasets import datasets
from onnx_compress.compiler.pipeline.recipe import LayerRule, Step
from onnx_compress.compiler.pipeline.settings import Settings
from tests.compiler.pipeline.passes_for_tests import (
    Blur,
    Broken,
    Crash,
    Idle,
    Nudge,
    Resign,
    Swap,
    Unblur,
    Wrong,
    classifier,
    labelled,
)

RAW = Settings(raw=True)


@pytest.fixture(autouse=True)
def _own_latency_table(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def run(*passes: Pass | Step, model: Model | None = None, settings: Settings = RAW) -> manager.Outcome:
    model = model or classifier()
    steps = [item if isinstance(item, Step) else Step(item) for item in passes]
    data, held_out = datasets(model, labelled(), None, {}, settings.seed)
    return manager.compress(model, steps, data=data, held_out=held_out, settings=settings)


def test_the_users_model_is_never_touched():
    model = classifier()
    before = model.proto().SerializeToString()
    run(Blur(ratio=0.2), model=model)
    assert model.proto().SerializeToString() == before


def test_a_given_strength_is_kept_and_its_cost_reported():
    outcome = run(Blur(ratio=1.0))
    record = outcome.report.passes[0]
    assert record.kept
    assert "kept because its strength was given" in record.reason
    assert outcome.report.metric.after == 0
    assert outcome.report.exit_status == 0


def test_a_given_strength_is_rolled_back_under_an_explicit_budget():
    outcome = run(Blur(ratio=1.0), settings=replace(RAW, max_drop=1.0))
    assert not outcome.report.passes[0].kept
    assert outcome.report.metric.drop == 0
    assert outcome.report.exit_status == 3


def test_an_open_strength_is_the_strongest_that_fits():
    outcome = run(Blur())
    record = outcome.report.passes[0]
    assert record.kept
    assert 0.3 <= record.options["ratio"] < 0.5, "at one half the next class wins"
    drops = {trial["strengths"]: trial["drop"] for trial in record.notes["tried"]}
    assert drops[f"blur:ratio={record.options['ratio']:g}"] <= 1.0
    assert drops[f"blur:ratio={record.options['ratio'] + 0.05:g}"] > 1.0


def test_an_open_strength_leaves_the_fixed_passes_their_share():
    alone = run(Blur()).report.passes[0].options["ratio"]
    outcome = run(Blur(), Blur(ratio=0.2))
    assert outcome.report.passes[0].options["ratio"] < alone
    assert outcome.report.metric.drop <= 1.0


def test_a_pass_after_a_costly_given_strength_is_judged_on_its_own_cost():
    kept = run(Blur(ratio=1.0), Nudge()).report.passes
    assert [record.kept for record in kept] == [True, True]
    undone = run(Blur(ratio=1.0), Swap()).report.passes
    assert [record.kept for record in undone] == [True, False], "it brings the labels back, but that is not its task"


def test_lossy_passes_are_judged_together_with_the_repair_that_ends_them():
    outcome = run(Blur(ratio=1.0), Unblur(), settings=replace(RAW, max_drop=0.5))
    assert [record.kept for record in outcome.report.passes] == [True, True]
    assert outcome.report.metric.drop == 0


def test_an_exact_pass_that_is_not_exact_is_rolled_back():
    outcome = run(Wrong())
    assert not outcome.report.passes[0].kept
    assert "moves the output 'y'" in outcome.report.passes[0].reason
    assert outcome.report.exit_status == 3


@pytest.mark.parametrize("broken", [Broken(), Resign(), Crash()])
def test_a_pass_that_breaks_the_model_is_our_own_fault(broken):
    with pytest.raises(PassError, match=broken.name) as caught:
        run(Idle(), broken)
    assert caught.value.passes_before == ("idle",)
    assert isinstance(caught.value.last_good, Model)


def test_a_refusal_changes_nothing_and_is_reported():
    outcome = run(Idle())
    record = outcome.report.passes[0]
    assert record.changed == 0
    assert record.kept
    assert record.skips[0].why == "there is nothing to do"


def test_nan_weights_are_refused():
    model = classifier()
    constant = next(model.constants())
    values = constant.values.copy()
    values[1, 2] = float("nan")
    edit.replace_values(model, constant, values)
    with pytest.raises(ModelError, match="'w' contains NaN"):
        run(Idle(), model=model)


def test_a_glob_that_matches_no_layer_is_an_error():
    with pytest.raises(UsageError, match="no layer matches 'head"):
        run(Idle(), settings=replace(RAW, exclude=("head.*",)))
    with pytest.raises(UsageError, match="no layer matches 'gc'; the nearest layer is 'fc'"):
        run(Step(Blur(ratio=0.1), (LayerRule("gc", {"ratio": 0.2}),)))


def test_an_opset_ceiling_is_held():
    class Raise(Idle):
        name = "raise-opset"

        def run(self, model, ctx):
            model.header.opset_import[0].version = 21
            edit.touch(model)
            return 1

    outcome = run(Raise(), settings=replace(RAW, opset=17))
    assert not outcome.report.passes[0].kept
    assert "needs opset 21, the ceiling is 17" in outcome.report.passes[0].reason


def test_every_state_is_measured():
    report = run(Blur(ratio=0.2), Blur(ratio=0.1)).report
    for record in report.passes:
        assert record.figures.latency_ms > 0
        assert record.figures.macs == 24
        assert record.numerics.cosine < 1
    assert report.input.bytes > 0
    assert report.metric.name == "top1"
    assert report.metric.before == 100


def test_without_simplify_repairs_aim_at_the_users_model():
    """Not at the result of the first lossy pass: refit looks up the origin of channels in the original."""
    outcome = run(Blur(ratio=0.2), registry.find("simplify")(), Unblur())
    assert next(outcome.model.constants()).values.tolist() == next(classifier().constants()).values.tolist()


def test_a_pass_behind_dead_channels_aims_at_the_model_that_still_had_them():
    data = {name: array for name, array in labelled().items() if name != "labels"}
    model = from_text(HIDDEN)
    for constant in list(model.constants()):  # the first 4 of 8 hidden channels are dead
        offset = 4 if constant.shape == (6, 8) else -4
        edit.replace_values(model, constant, np.eye(*constant.shape, offset, dtype=np.float32))
    steps = [Step(registry.find("remove-dead-channels")()), Step(Nudge()), Step(registry.find("refit")())]
    calibration, held_out = datasets(model, data, None, {}, 0)
    outcome = manager.compress(model, steps, data=calibration, held_out=held_out, settings=RAW)
    assert {constant.shape for constant in outcome.model.constants()} == {(6, 4), (4, 4)}
    assert [record.kept for record in outcome.report.passes] == [True, True, True]


HIDDEN = """
<ir_version: 8, opset_import: ["" : 17]>
classifier (float[N,6] x) => (float[N,4] y) <float[6,8] w, float[8,4] v>
{
   [fc] h = MatMul (x, w)
   r = Relu (h)
   [out] y = MatMul (r, v)
}
"""
