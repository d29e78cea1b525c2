from dataclasses import replace

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.repair import moments
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal, apply
from onnx_compress.passes.prune._criteria.lasso import lasso
from onnx_compress.passes.prune._criteria.obs import obs
from onnx_compress.passes.prune._widths import loss_tables
from onnx_compress.passes.prune.prune_channels import PruneChannels
from tests.behaviour import feeds_for, run
from tests.contexts import context
from tests.pruning import distance

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
CONV = """g (float[N,3,6,6] x) => (float[N,5] y)
<float[8,3,3,3] a, float[8] b, float[8,8,3,3] c, float[8] d, float[288,5] e, float[5] f>
{ h = Conv <pads: ints = [1, 1, 1, 1]> (x, a, b) r = Relu (h)
  i = Conv <pads: ints = [1, 1, 1, 1]> (r, c, d) s = Relu (i) t = Flatten (s) y = Gemm (t, e, f) }"""
BRANCH = """g (float[N,3,6,6] x) => (float[N,5,6,6] y)
<float[8,3,1,1] a, float[8,8,1,1] c, float[8,1,3,3] w, float[5,8,1,1] e>
{ h = Conv (x, a) r = Relu (h) i = Conv (r, c) s = Add (r, i)
  k = Conv <group = 8, pads: ints = [1, 1, 1, 1]> (s, w) y = Conv (k, e) }"""
HEADS = """g (float[N,6,8] x) => (float[N,6,8] y)
<float[8,8] q, float[8,8] k, float[8,8] v, int64[2] unused>
{ a = MatMul (x, q) b = MatMul (x, k) c = Transpose <perm: ints = [0, 2, 1]> (b) d = MatMul (a, c)
  p = Softmax (d) w = MatMul (x, v) y = MatMul (p, w) }""".replace(", int64[2] unused", "")
SHAPES = {CONV: (32, 3, 6, 6), BRANCH: (32, 3, 6, 6), HEADS: (32, 6, 8)}


def prepared(text):
    model = from_text(HEAD + text)
    data = np.random.default_rng(0).standard_normal(SHAPES[text]).astype(np.float32)
    return model, context(PruneChannels(), model, data={"x": data})


def tables(model, ctx, widths=(8, 6, 4), by=obs):
    groups = ChannelGroups.of(model)
    scores = [np.arange(group.size, dtype=float) for group in groups.prunable]
    kept = [np.array(widths) for _ in groups.prunable]
    return loss_tables.tables(model, groups, loss_tables.Wish(kept, scores, by), ctx)


@pytest.mark.parametrize("text", [CONV, BRANCH, HEADS], ids=["conv", "branch", "heads"])
def test_a_trial_computes_what_the_narrower_model_computes(text, monkeypatch):
    """All readers of the channels are cleared, so the outputs are those of the model without them."""
    model, ctx = prepared(text)
    trials = []
    monkeypatch.setattr(loss_tables._Trial, "losses", lambda self, measured: trials.append(self) or self.kept)
    tables(model, ctx)
    moved = []
    for trial in trials:
        gone = np.array([1, 4, 5])
        made = model.twin()
        trial.without(gone)(made)
        wide = made.model
        narrow = wide.clone()
        groups = ChannelGroups.of(narrow)
        twin = groups.prunable[[g is trial.group for g in trial.groups.prunable].index(True)]
        apply(narrow, Removal.of(groups, (Cut(twin, gone),)))
        feeds = feeds_for(model)
        assert distance(run(wide, feeds), run(narrow, feeds)) < 1e-5
        moved.append(distance(run(wide, feeds), run(model, feeds)))
    assert max(moved) > 1e-2


@pytest.mark.parametrize("text", [CONV, BRANCH, HEADS], ids=["conv", "branch", "heads"])
def test_losses_start_at_nothing_and_grow(text):
    for table in tables(*prepared(text)):
        assert sorted(table.order) == list(range(8))
        assert table.losses[0] == 0
        assert 0 < table.losses[1] < table.losses[2]


def test_scores_decide_without_a_requested_ordering():
    for table in tables(*prepared(CONV), by=None):
        np.testing.assert_array_equal(table.order, np.arange(8))


def test_orderings_have_tables_of_their_own():
    model, ctx = prepared(CONV)
    one, two = tables(model, ctx, by=obs), tables(model, ctx, by=lasso)
    assert any((a.order != b.order).any() for a, b in zip(one, two, strict=True))


def test_tables_are_measured_once_for_each_state_of_the_model(monkeypatch):
    calls = []
    measured = loss_tables._tables
    monkeypatch.setattr(loss_tables, "_tables", lambda *a: calls.append(1) or measured(*a))
    model, ctx = prepared(CONV)
    first = tables(model, ctx)
    copied = model.clone()
    again = tables(copied, replace(ctx, model=copied))
    assert len(calls) == 1
    np.testing.assert_array_equal(first[0].losses, again[0].losses)
    node = next(model.nodes())
    edit.set_weight(model, node, 1, 2 * input_value(node, 1))
    tables(model, ctx)
    assert len(calls) == 2
    tables(model, replace(ctx, data=ctx.data.take(20)))
    assert len(calls) == 3


def test_parts_bound_the_memory_of_the_sums(monkeypatch):
    whole = tables(*prepared(CONV))
    monkeypatch.setattr(moments, "GRAM_BYTES", 1)
    for one, two in zip(whole, tables(*prepared(CONV))):
        np.testing.assert_array_equal(one.order, two.order)


@pytest.mark.parametrize(("count", "widths"), [(3, 9), (9, 9), (97, 9), (97, 4)])
def test_the_measured_widths_reach_both_ends_and_lie_closer_where_little_is_gone(count, widths):
    at = loss_tables.measured_at(np.arange(count, 0, -1), widths)
    assert (at[0], at[-1], len(at)) == (0, count - 1, min(count, widths))
    assert count <= widths or (np.diff(at)[0] < np.diff(at)[-1])
