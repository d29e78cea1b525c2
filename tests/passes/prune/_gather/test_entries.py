"""The first layers of residual branches, which read only some channels of the shortcut."""

import numpy as np
import onnx
import pytest

import onnx_compress
from models.nets import build, get
from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.channels.width_cost import WidthCost
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.ir.weights import input_constant, input_value
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal, apply
from onnx_compress.passes.prune._criteria.obs import obs
from onnx_compress.passes.prune._gather.entries import Entries, insert, with_gathers
from onnx_compress.passes.prune._widths import loss_tables
from onnx_compress.passes.prune._widths.loss_tables import Table, Wish
from onnx_compress.passes.prune._widths.measured import Measured
from onnx_compress.passes.prune.prune_channels import PruneChannels
from tests.behaviour import feeds_for, run, serialized
from tests.contexts import FakeJudge, by_bytes, context
from tests.pruning import distance

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
SHAPES = {"x": (1, 3, 8, 8)}
BLOCKS = """g (float[N,3,8,8] x) => (float[N,10] y)
<float[32,3,3,3] stem, float[32] b, float[32,32,3,3] w1, float[32,32,3,3] w2, float[32,32,3,3] w3, float[32,32,3,3] w4,
 float[32] b1, float[32] b2, float[32] b3, float[32] b4, float[10,32] fc, float[10] fb>
{
  ["stem"] a = Conv <pads = [1,1,1,1]> (x, stem, b)  s = Relu (a)
  ["one"] c1 = Conv <pads = [1,1,1,1]> (s, w1, b1)  r1 = Relu (c1)
  ["two"] c2 = Conv <pads = [1,1,1,1]> (r1, w2, b2)  a1 = Add (s, c2)  s1 = Relu (a1)
  ["three"] c3 = Conv <pads = [1,1,1,1]> (s1, w3, b3)  r3 = Relu (c3)
  ["four"] c4 = Conv <pads = [1,1,1,1]> (r3, w4, b4)  a2 = Add (s1, c4)  s2 = Relu (a2)
  p = GlobalAveragePool (s2)  f = Flatten (p)
  ["fc"] y = Gemm <transB = 1> (f, fc, fb)
}"""
CHAIN = """g (float[N,3,8,8] x) => (float[N,5,8,8] y) <float[64,3,1,1] a, float[64,64,1,1] c, float[5,64,1,1] e>
{ h = Conv (x, a) r = Relu (h) i = Conv (r, c) s = Relu (i) y = Conv (s, e) }"""


def named(model, name):
    return next(node for node in model.nodes() if node.name == name)


def prepared(text=BLOCKS, change=lambda model: None, takes=by_bytes, exclude=(), **options):
    """`takes` is the time of a candidate with a Gather; the one without is called "none"."""
    model = from_text(HEAD + text)
    change(model)
    item = PruneChannels(**options)
    images = np.random.default_rng(3).standard_normal((64, 3, 8, 8)).astype(np.float32)
    judge = FakeJudge(model, takes=takes)
    return model, item, context(item, model, data={"x": images}, judge=judge, exclude=exclude)


def entries_of(model, ctx):
    return Entries.of(model, WidthCost(model, ctx.get(ChannelGroups), SHAPES), ctx, SHAPES)


def gathers_of(model):
    return [node for node in model.nodes() if node.op == "Gather"]


def test_entries_are_the_layers_whose_input_others_need_too():
    model, _, ctx = prepared()
    assert [entry.node.name for entry in entries_of(model, ctx).found] == ["stem", "one", "three"]
    model, _, ctx = prepared(CHAIN)
    assert [entry.node.inputs[0].name for entry in entries_of(model, ctx).found] == ["x"]
    model, _, ctx = prepared(exclude=("one",))
    assert [entry.node.name for entry in entries_of(model, ctx).found] == ["stem", "three"]


def test_of_wide_layers_only_some_widths_are_tried():
    text = BLOCKS.replace("32", "160")
    model, _, ctx = prepared(text)
    for counts in entries_of(model, ctx).candidates(4)[1:]:
        assert counts[0] == 160
        assert 4 <= len(counts) - 1 <= 8
        assert (np.diff(counts) < 0).all()
        assert counts[-1] < 40


@pytest.mark.parametrize("cut", [0, 5, 12])
@pytest.mark.parametrize("count", [8, 20, 28])
def test_gathering_is_zeroing_the_other_inputs(cut, count):
    """Also if the shortcut is cut at the same time; a layer that reads all remaining channels gets no Gather."""
    model, _, ctx = prepared()
    groups, entries = ctx.get(ChannelGroups), entries_of(model, ctx)
    rng = np.random.default_rng(cut)
    orders = [rng.permutation(group.size) for group in entries.among(groups).groups]
    shared = next(i for i, group in enumerate(groups.prunable) if len(group.producers) > 1)
    cuts = (Cut(groups.prunable[shared], np.sort(orders[shared][:cut])),) if cut else ()
    kept = np.array([group.size for group in entries.among(groups).groups])
    kept[shared] -= cut
    kept[-2:] = count, 32
    removal = Removal.of(groups, cuts)
    chosen = entries.gathers(removal, orders, kept)
    narrow, zero = model, model.clone()
    for one in chosen:
        weights = np.array(input_value(named(zero, one.node.name), 1))
        weights[:, np.setdiff1d(np.arange(32), one.kept)] = 0
        edit.set_weight(zero, named(zero, one.node.name), 1, weights)
    again = ChannelGroups.of(zero)
    apply(zero, Removal.of(again, tuple(Cut(again.prunable[shared], c.gone) for c in cuts)))
    apply(narrow, with_gathers(removal, chosen))
    insert(narrow, chosen)
    onnx.checker.check_model(narrow.proto(), full_check=True)
    assert len(gathers_of(narrow)) == (count < 32 - cut)
    assert distance(run(zero, feeds_for(model)), run(narrow, feeds_for(model))) < 1e-6
    assert Cost.of(narrow, SHAPES).macs == entries.macs(kept)


def test_origins_say_which_channels_a_layer_still_reads():
    model, item, ctx = prepared(ratio=0.5, gather=True)
    assert item.run(model, ctx)
    assert gathers_of(model)
    for node in gathers_of(model):
        reader, part = node.outputs[0].outputs[0], node.outputs[0]
        read = input_constant(reader, 1).origin.kept[1]
        np.testing.assert_array_equal(part.origin.kept[1], read)
        left = node.inputs[0].origin.kept.get(1, np.arange(32))
        np.testing.assert_array_equal(left[input_value(node, 1)], read)
        assert part.origin.name == node.inputs[0].name


@pytest.mark.parametrize("criterion", ["obs", "lasso", "energy", "fpgm"])
def test_gathers_take_part_in_the_choice_of_widths(criterion):
    model, item, ctx = prepared(ratio=0.4, gather=True, criterion=criterion)
    before = Cost.of(model, SHAPES).macs
    changed = item.run(model, ctx)
    assert changed == len(ctx.notes["widths"]) + len(ctx.notes["gathers"])
    assert [note["layer"] for note in ctx.notes["gathers"]] == [
        node.outputs[0].outputs[0].label() for node in gathers_of(model)
    ]
    assert len(gathers_of(model)) >= 1
    assert 0.57 * before < Cost.of(model, SHAPES).macs <= 0.6 * before
    onnx.checker.check_model(model.proto(), full_check=True)


def repeat_channels(model):
    """Let layer one read channels of which the second half repeat the first; nobody else can spare any."""
    stem = named(model, "stem")
    for slot in (1, 2):
        values = np.array(input_value(stem, slot))
        values[16:] = 2 * values[:16]
        edit.set_weight(model, stem, slot, values)


def with_spare_inputs():
    return prepared(change=repeat_channels, ratio=0.1, gather=True, round=8)


def test_what_other_inputs_repeat_is_left_out_at_no_loss():
    """The shortcut still needs all of them, since different values are added to them."""
    model, item, ctx = with_spare_inputs()
    expected = run(model, feeds_for(model))
    item.run(model, ctx)
    assert ctx.notes["gathers"] == [{"layer": "Conv 'one'", "reads": 16, "of": 32}]
    assert "widths" not in ctx.notes
    gathered = distance(expected, run(model, feeds_for(model)))
    assert gathered < 1e-3
    model, _, ctx = with_spare_inputs()
    PruneChannels(ratio=0.1, round=8).run(model, ctx)
    assert distance(expected, run(model, feeds_for(model))) > 10 * gathered


@pytest.mark.slow
@pytest.mark.parametrize(("time", "why"), [(1.07, "costs more than it saves"), (0.97, "saves too little")])
def test_a_gather_that_does_not_pay_is_refused_with_its_figure(time, why):
    model, item, ctx = prepared(takes=lambda name, _: 1.0 if name == "none" else time, ratio=0.4, gather=True)
    item.run(model, ctx)
    assert None not in ctx.judge.timed
    why = f"a Gather in front {why}: {time:.2f}× the time"
    assert [(skip.where, skip.why) for skip in ctx.skips] == [("Conv 'one'", why), ("Conv 'three'", why)]
    plain, item, ctx = prepared(ratio=0.4)
    item.run(plain, ctx)
    assert serialized(model) == serialized(plain)


def test_gathers_must_pay_at_the_widths_that_are_chosen_with_them():
    """Here they pay while the layer computes all its channels."""

    def takes(name, model):
        computed = input_value(list(model.nodes())[-2], 1).shape[0]
        return 0.5 if name != "none" and computed == 32 else 1.0

    model, _, ctx = prepared(takes=takes)
    entries = entries_of(model, ctx)
    groups = entries.among(ctx.get(ChannelGroups)).groups
    kept = np.array([group.size for group in groups])
    assert entries.refused(kept) == {}
    kept[-1] = 16
    assert entries.refused(kept) == {}
    mine = next(i for i, group in enumerate(groups) if group.label == "Conv 'three'" and group.producers)
    kept[mine] = 24
    assert entries.refused(kept) == {len(kept) - 1: 16}


def test_a_refused_choice_is_made_again():
    """Then the next stronger choice, or another part, compensates."""

    class Stub:
        def macs(self, kept):
            return int(kept.sum())

        def refused(self, kept):
            return {1: int(kept[1])} if kept[1] in (24, 16) else {}

    tables = [
        Table(np.arange(32), np.array([32, 16]), np.array([0.0, 9.0])),
        Table(np.arange(32), np.array([32, 24, 16, 8]), np.array([0.0, 0.1, 0.2, 0.3])),
    ]
    measured = Measured(None, Stub(), (), None, None, 64)
    assert measured._least_loss(tables, Stub().macs, 56, 8)[0].tolist() == [32, 8]
    assert measured._least_loss(tables, Stub().macs, 30, 8)[0].tolist() == [16, 8]
    assert measured._least_loss([tables[0], tables[1]], Stub().macs, 64, 8)[0].tolist() == [32, 32]


def test_without_measured_losses_nothing_is_gathered():
    for options, real in (({"scope": "uniform"}, True), ({}, False)):
        model, item, ctx = prepared(ratio=0.4, gather=True, **options)
        if not real:
            ctx = context(item, model)
        item.run(model, ctx)
        assert not gathers_of(model)
        assert "needs calibration data" in ctx.skips[0].why


@pytest.mark.slow
def test_the_whole_pipeline_times_places_and_takes_what_is_faster(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = np.random.default_rng(3).standard_normal((96, 3, 8, 8)).astype(np.float32)
    spec = "prune-channels:ratio=0.4:gather=true"
    first, again = (onnx_compress.compress(from_text(HEAD + BLOCKS), spec, data={"x": images}) for _ in range(2))
    notes = next(record for record in first.report.passes if record.name == "prune-channels").notes
    assert len(gathers_of(first.model)) == len(notes["gathers"])
    assert serialized(first.model) == serialized(again.model)  # the second run uses the first one's times
    assert (tmp_path / "onnx-compress" / "latency.json").exists()


def test_a_loss_is_measured_with_this_layer_narrow_and_all_else_as_it_is(monkeypatch):
    model, _, ctx = prepared()
    entries, trials = entries_of(model, ctx), []
    monkeypatch.setattr(loss_tables._Trial, "losses", lambda self, measured: trials.append(self) or self.kept)
    every = entries.among(ctx.get(ChannelGroups))
    wish = Wish([np.array([g.size, 8]) for g in every.groups], [np.arange(float(g.size)) for g in every.groups], obs)
    loss_tables.tables(model, every, wish, ctx)
    entry, gone = entries.found[-1], np.array([3, 4, 9])
    twin = model.twin()
    trials[-1].without(gone)(twin)
    result = twin.model
    for before, after in zip(model.nodes(), result.nodes(), strict=True):
        for slot in (1, 2):
            old, new = input_value(before, slot), input_value(after, slot)
            if before is not entry.node:
                np.testing.assert_array_equal(old, new)
            elif slot == 1:
                is_left = new.any((0, 2, 3))
                assert np.flatnonzero(~is_left).tolist() == sorted(entry.channels[gone])
                assert (old[:, is_left] != new[:, is_left]).any()  # re-solved


@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet_basic", "resnet_bottleneck", "resnext", "densenet", "inception", "yolo"])
def test_half_the_inputs_of_every_entry_of_a_net(name):
    net, model = get(name), Model.from_proto(build(name, exporter="torchscript-eval"))
    shapes = {key: (1, *array.shape[1:]) for key, array in net.feeds(1).items()}
    ctx = context(PruneChannels(), model)
    groups = ctx.get(ChannelGroups)
    entries = Entries.of(model, WidthCost(model, groups, shapes), ctx, shapes)
    assert len(entries.found) >= 2
    every = entries.among(groups).groups
    rng = np.random.default_rng(0)
    kept = np.array([group.size for group in every])
    kept[len(groups.prunable) :] //= 2
    kept = np.maximum(kept, 1)
    removal = Removal.of(groups, ())
    chosen = entries.gathers(removal, [rng.permutation(group.size) for group in every], kept)
    zero = model.clone()
    twins = dict(zip(model.nodes(), zero.nodes(), strict=True))
    for one in chosen:
        weights = np.array(input_value(one.node, 1))
        weights[:, np.setdiff1d(np.arange(weights.shape[1]), one.kept)] = 0
        edit.set_weight(zero, twins[one.node], 1, weights)
    apply(model, with_gathers(removal, chosen))
    insert(model, chosen)
    onnx.checker.check_model(model.proto(), full_check=True)
    assert Cost.of(model, shapes).macs == entries.macs(kept) < Cost.of(zero, shapes).macs
    assert distance(run(zero, net.feeds(2)), run(model, net.feeds(2))) < 1e-6
