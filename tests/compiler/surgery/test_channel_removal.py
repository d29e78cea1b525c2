import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.channels.width_cost import WidthCost
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.text import from_text, to_text
from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal, apply, without
from tests.small_models import TEXTS, small_model

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
CHAIN = """g (float[N,3,8,8] x) => (float[N,5,8,8] y) <float[8,3,1,1] a, float[5,8,1,1] c>
{ h = Conv (x, a) r = Relu (h) y = Conv (r, c) }"""


def cut(text, *gone):
    model = from_text(HEAD + text)
    groups = ChannelGroups.of(model)
    cuts = tuple(Cut(group, np.array(indices, int)) for group, indices in zip(groups.prunable, gone))
    return model, Removal.of(groups, cuts), cuts


def test_a_removal_can_be_read_before_it_is_applied():
    model, removal, cuts = cut(CHAIN, [0, 3])
    edits = {
        (node.outputs[0].name, slot): {axis: kept.tolist() for axis, kept in axes.items()}
        for (node, slot), axes in removal.weights.items()
    }
    assert edits == {("h", 1): {0: [1, 2, 4, 5, 6, 7]}, ("y", 1): {1: [1, 2, 4, 5, 6, 7]}}
    assert str(cuts[0]) == "Conv 'h': 8 → 6 channels"
    assert [c.stored.shape for c in model.constants()] == [(8, 3, 1, 1), (5, 8, 1, 1)]


def test_kept_values_origins_and_declared_shapes():
    model, removal, _ = cut(CHAIN, [0, 3])
    before = {c.name: c.values for c in model.constants()}
    apply(model, removal)
    kept = [1, 2, 4, 5, 6, 7]
    after = {c.name: c for c in model.constants()}
    np.testing.assert_array_equal(after["a"].values, before["a"][kept])
    np.testing.assert_array_equal(after["c"].values, before["c"][:, kept])
    assert after["a"].origin.kept[0].tolist() == kept
    assert after["c"].origin.kept[1].tolist() == kept
    hidden = next(node for node in model.nodes() if node.op == "Relu").inputs[0]
    assert hidden.origin.kept[1].tolist() == kept


def test_a_second_removal_counts_from_the_original():
    model, removal, _ = cut(CHAIN, [0, 3])
    apply(model, removal)
    groups = ChannelGroups.of(model)
    apply(model, Removal.of(groups, (Cut(groups.prunable[0], np.array([0, 5])),)))
    weight = next(c for c in model.constants() if c.name == "a")
    assert weight.origin.kept[0].tolist() == [2, 4, 5, 6]


def test_removing_nothing_changes_nothing():
    model, removal, _ = cut(CHAIN, [])
    assert not removal.weights
    assert not removal.tensors
    version = model.version
    apply(model, removal)
    assert model.version == version


def test_old_splits_keep_their_attribute():
    text = """g (float[N,3,4,4] x) => (float[N,4,4,4] y) <float[12,3,1,1] a, float[4,4,1,1] b, float[4,8,1,1] c>
    { h = Conv (x, a) p, q = Split <axis=1, split=[4,8]> (h) s = Conv (p, b) t = Conv (q, c) y = Add (s, t) }"""
    model = from_text('<ir_version: 6, opset_import: ["" : 11]>\n' + text)
    groups = ChannelGroups.of(model)
    apply(model, Removal.of(groups, (Cut(groups.prunable[0], np.array([1])),)))
    node = next(node for node in model.nodes() if node.op == "Split")
    assert node.attrs["split"] == (3, 8)
    assert len(node.inputs) == 1


@pytest.mark.parametrize("name", sorted(set(TEXTS) - {"branches"}))
def test_predicted_macs_are_those_of_the_pruned_model(name):
    model = small_model(name).clone()
    groups = ChannelGroups.of(model)
    shapes = {t.name: [2 if not isinstance(d, int) else d for d in t.shape or ()] for t in model.inputs()}
    for shape in shapes.values():
        shape[:1] = [1] * len(shape[:1])
    cost = WidthCost(model, groups, shapes)
    assert cost.macs(cost.sizes) == (Cost.of(model, shapes).macs or 0)
    kept = np.array([-(-group.size // 2) for group in cost.groups], np.int64)
    predicted = cost.macs(kept)
    apply(model, Removal.of(groups, tuple(Cut(g, np.arange(1, g.size, 2)) for g in cost.groups)))
    assert predicted == (Cost.of(model, shapes).macs or 0)


@pytest.mark.parametrize(("opset", "how"), [(17, "input"), (11, "attribute")])
def test_a_squeeze_of_all_single_axes_keeps_the_channel_that_becomes_one(opset, how):
    text = f"""<ir_version: 6, opset_import: ["" : {opset}]>
    g (float[2,3,8,8] x) => (float[2,5] y) <float[4,3,1,1] a, float[4,5] c>
    {{ h = Conv (x, a) p = GlobalAveragePool (h) s = Squeeze (p) y = MatMul (s, c) }}"""
    model = from_text(text)
    groups = ChannelGroups.of(model)
    apply(model, Removal.of(groups, (Cut(groups.prunable[0], np.array([0, 1, 2])),)))
    squeeze = next(node for node in model.nodes() if node.op == "Squeeze")
    axes = squeeze.inputs[1].values.tolist() if how == "input" else list(squeeze.attrs["axes"])
    assert axes == [2, 3]
    feeds = {"x": np.ones((2, 3, 8, 8), np.float32)}
    assert create(model).run(feeds)["y"].shape == (2, 5)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_copy_without_channels_equals_the_model_after_removing_them(name):
    model = small_model(name)
    groups = ChannelGroups.of(model)
    cuts = tuple(Cut(group, np.arange(group.size // 2)) for group in groups.prunable)
    before = to_text(model)
    narrowed = without(model, groups, cuts)
    assert to_text(model) == before
    apply(model, Removal.of(groups, cuts))
    assert narrowed.proto().SerializeToString(deterministic=True) == model.proto().SerializeToString(deterministic=True)
