"""Pruning to a share of the time, with a judge whose clock is a formula."""

from functools import partial

import numpy as np
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import spec
from onnx_compress.compiler.pipeline.api import compress
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable
from onnx_compress.passes.prune._widths.timed import TOLERANCE, FoundWidths, best_of
from onnx_compress.passes.prune._widths.widths import Choice
from onnx_compress.passes.prune.prune_channels import PruneChannels
from tests.behaviour import serialized
from tests.contexts import FakeJudge, context, nothing

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
CHAIN = """g (float[N,3,8,8] x) => (float[N,5,8,8] y)
<float[128,3,1,1] a, float[128] b, float[128,128,1,1] c, float[128] d, float[5,128,1,1] e>
{ ["one"] h = Conv (x, a, b) r = Relu (h) ["two"] i = Conv (r, c, d) s = Relu (i) ["three"] y = Conv (s, e) }"""


def staircase(model):
    """Milliseconds of each layer when kernels take 16 channels at a time."""
    shapes = {node.name: node.inputs[1].stored.shape for node in model.graph.nodes if node.op == "Conv"}
    return {name: 0.01 * -(-shape[0] // 16) * -(-shape[1] // 16) for name, shape in shapes.items()}


def judge(model, overhead=0.0, off=1.0):
    """`overhead` is the time outside the layers; `off` the factor by which narrowed models are slower."""
    full = sum(staircase(model).values())

    def takes(name, candidate):
        layers = sum(staircase(candidate).values())
        return (layers + overhead) * (off if layers < full else 1.0)

    return FakeJudge(model, loses=nothing, takes=takes, layers=staircase)


def prune(clock=judge, **options):
    model = from_text(HEAD + CHAIN)
    original = model.clone()
    item = PruneChannels(**options)
    ctx = context(item, model, original, judge=clock(original))
    changed = item.run(model, ctx)
    return model, original, ctx, changed


def left(model, original):
    return sum(staircase(model).values()) / sum(staircase(original).values())


@pytest.mark.parametrize("share", [0.2, 0.35, 0.5, 0.8])
@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_the_time_comes_down_to_the_share(share, scope):
    model, original, ctx, changed = prune(latency=share, scope=scope)
    assert changed
    assert share - 0.16 < left(model, original) <= share * (1 + TOLERANCE)
    assert ctx.notes["latency"]["measured"] == pytest.approx(left(model, original), abs=1e-3)
    assert ctx.notes["step"] == 16
    assert not ctx.skips


def test_what_was_measured_corrects_the_choice():
    """The whole model saves less than its layers: only a measurement shows it."""
    model, original, ctx, _ = prune(partial(judge, overhead=0.3), latency=0.6)
    first = ctx.notes["latency"]["predicted_and_measured"][0]
    assert first[0] <= 0.6 < first[1] / (1 + TOLERANCE)
    assert ctx.notes["latency"]["measured"] <= 0.6 * (1 + TOLERANCE)
    assert left(model, original) < first[0]


def test_an_aim_that_was_too_careful_is_relaxed():
    model, original, ctx, _ = prune(partial(judge, off=0.5), latency=0.3)
    tried = ctx.notes["latency"]["predicted_and_measured"]
    assert tried[0][1] < 0.15
    assert 0.25 < ctx.notes["latency"]["measured"] <= 0.3 * (1 + TOLERANCE)
    assert left(model, original) > 0.55


def test_what_would_be_slower_is_left_alone():
    model, original, ctx, changed = prune(partial(judge, off=40.0), latency=0.5)
    assert changed == 0
    assert serialized(model) == serialized(original)
    assert ctx.missed == ["none of the tried widths is faster, 50% of the time requested"]


def test_a_share_out_of_reach_is_reported():
    _, _, ctx, changed = prune(partial(judge, overhead=2.0), latency=0.1)
    assert changed
    assert ctx.missed[-1].startswith("the fastest widths found take 7")


def test_the_report_says_what_each_group_gave():
    model, _, ctx, changed = prune(latency=0.5)
    rows = ctx.notes["widths"]
    assert len(rows) == changed
    times = staircase(model)
    for row in rows:
        assert set(row) == {"layer", "before", "after", "ms_before", "ms_after"}
        reader = {"Conv 'one'": "two", "Conv 'two'": "three"}[row["layer"]]
        assert row["ms_after"] == pytest.approx(times[row["layer"].split("'")[1]] + times[reader], rel=0.01)
        assert row["ms_before"] > row["ms_after"]


def test_losses_are_reported_where_they_were_measured():
    model = from_text(HEAD + CHAIN)
    item = PruneChannels(latency=0.5, refit=False)
    ctx = context(item, model, judge=judge(model.clone()))
    ctx.data.source.real = True
    item.run(model, ctx)
    assert all(row["loss"] > 0 for row in ctx.notes["widths"])


@pytest.mark.slow
def test_the_same_table_gives_the_same_bytes(tmp_path, monkeypatch):
    text = CHAIN.replace("[N,3,8,8]", "[N,3,28,28]").replace("[N,5,8,8]", "[N,5,28,28]").replace("128,1,1]", "128,3,3]")
    model, path = from_text(HEAD + text), tmp_path / "table.json"
    first = compress(model, "prune:latency=0.6:round=32", settings=Settings(latency_table=path))
    (pruned,) = (entry for entry in first.report.passes if entry.name == "prune-channels")
    assert pruned.notes["latency"]["measured"] < 1
    monkeypatch.setattr(LatencyTable, "put", lambda *_: pytest.fail("measured again"))
    second = compress(model, "prune:latency=0.6:round=32", settings=Settings(latency_table=path))
    assert serialized(second.model) == serialized(first.model) != serialized(model)


def test_both_strengths_are_refused():
    with pytest.raises(UsageError, match="prune-channels: 'ratio' and 'latency' both say how strongly to compress"):
        spec.parse("prune:ratio=0.3:latency=0.5")


def test_either_strength_closes_the_search():
    item = spec.parse("prune:latency=0.5")[0]
    assert (item.is_open(), item.is_given()) == (False, True)
    item = spec.parse("prune")[0]
    assert (item.is_open(), item.is_given()) == (True, False)
    assert spec.parse("prune:ratio=0.5")[0].is_given()


def test_the_slowest_that_is_fast_enough_wins():
    choice = Choice([], np.zeros(0, np.int64), 16)
    tried = [FoundWidths(choice, share, 0.5) for share in (0.7, 0.45, 0.51, 0.4)]
    assert best_of(tried, 0.5).share == 0.51
    assert best_of(tried, 0.3).share == 0.4
