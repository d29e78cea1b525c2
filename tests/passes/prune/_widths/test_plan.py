from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.surgery.channel_removal import Removal, apply
from onnx_compress.passes.prune._widths.plan import Planner, explain
from onnx_compress.passes.prune.prune_channels import PruneChannels
from tests.contexts import context

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,6,6] x) => (float[N,5,6,6] y) <float[64,3,1,1] a, float[64,64,1,1] c, float[5,64,1,1] e>
{ ["one"] h = Conv (x, a) r = Relu (h) ["two"] i = Conv (r, c) s = Relu (i) ["three"] y = Conv (s, e) }"""


def planner(exclude=(), overrides=(), real=False, **options):
    model = from_text(TEXT)
    item = PruneChannels(**{"ratio": 0.5, "round": 8, **options})
    data = {"x": np.random.default_rng(0).standard_normal((64, 3, 6, 6)).astype(np.float32)} if real else None
    ctx = context(item, model, data=data, exclude=exclude, overrides=overrides)
    return model, Planner.of(item, model, ctx), ctx


@pytest.mark.parametrize("scope", ["global", "uniform"])
@pytest.mark.parametrize("real", [False, True])
def test_the_plan_saves_what_was_requested(real, scope):
    model, made, ctx = planner(real=real, scope=scope)
    before = Cost.of(model).macs
    assert made.macs == before
    cuts, gathers = made.plan()
    apply(model, Removal.of(made.groups, cuts))
    assert 0.45 * before < Cost.of(model).macs <= 0.5 * before
    assert gathers == ()
    assert ctx.missed == []


def test_widths_are_multiples_of_the_step():
    _, made, ctx = planner(round=16)
    cuts, _ = made.plan()
    assert ctx.notes["step"] == 16
    assert all((cut.group.size - len(cut.gone)) % 16 == 0 for cut in cuts)
    rows = ctx.notes["widths"]
    assert {row["layer"]: (row["before"], row["after"]) for row in rows} == {
        cut.group.label: (64, 64 - len(cut.gone)) for cut in cuts
    }


def test_excluded_layers_keep_their_channels():
    _, made, ctx = planner(exclude=("two",))
    assert made.plan()[0] == ()
    assert "a layer coupled to it is excluded" in {skip.why for skip in ctx.skips}
    assert ctx.missed


def test_a_layer_can_have_a_ratio_of_its_own():
    _, made, _ = planner(overrides=[("one", {"ratio": 0.25})])
    kept = {cut.group.label: cut.group.size - len(cut.gone) for cut in made.plan()[0]}
    assert 48 in kept.values()


def test_a_target_out_of_reach_is_missed():
    _, made, ctx = planner(exclude=("two",), ratio=0.95)
    made.plan()
    assert "95% requested" in ctx.missed[0]


def test_reasons_for_nothing_are_reported_once():
    text = TEXT.replace("r = Relu (h)", "r = Softmax <axis=1> (h)").replace("s = Relu (i)", "s = Softmax <axis=1> (i)")
    model = from_text(text)
    ctx = context(PruneChannels(ratio=0.5), model)
    explain(ChannelGroups.of(model), ctx)
    reasons = [skip.why for skip in ctx.skips]
    assert reasons
    assert len(reasons) == len(set(reasons))
