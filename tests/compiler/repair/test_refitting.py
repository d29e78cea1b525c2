from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair import Effort, present_activations, refit
from onnx_compress.compiler.repair.original_activations import Reference
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal, apply

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def parsed(text):
    return from_text(HEAD + text)


def data_for(model, samples=64, seed=0):
    (info,) = specs(model).inputs
    rng = np.random.default_rng(seed)
    return load({info.name: rng.standard_normal((samples, *info.shape[1:])).astype(np.float32)}, [info])


def repaired(model, original, data=None, **options):
    return refit(model, original, data or data_for(original), np.random.default_rng(0), **options)


def distance(a, b, seed=1):
    """How far outputs differ on samples that were not fitted, as a share of their spread."""
    found = []
    for feeds in data_for(a, seed=seed).batches():
        x, y = (next(iter(create(model).run(feeds).values())) for model in (a, b))
        found.append(np.linalg.norm(x - y) / np.linalg.norm(x - x.mean()))
    return max(found)


def node(model, name):
    return next(n for n in model.graph.nodes if n.name == name)


def set_weight(model, name, change, slot=1):
    """Give a node new weights, `change` of the old ones."""
    old = node(model, name).inputs[slot].values
    edit.set_weight(model, node(model, name), slot, np.asarray(change(old)).astype(old.dtype))


def without_second_half(original):
    """The model without the second half of its first group of channels."""
    return without_half(original, 1)


def without_half(original, which):
    model = original.clone()
    groups = ChannelGroups.of(model)
    half = groups.prunable[0].size // 2
    apply(model, Removal.of(groups, (Cut(groups.prunable[0], which * half + np.arange(half)),)))
    return model


def doubled(axis=0):
    """Makes the second half of the channels along an axis equal to the first."""

    def change(values):
        half = np.take(values, range(values.shape[axis] // 2), axis)
        return np.concatenate([half, half], axis)

    return change


CHAINS = {
    "conv": """
g (float[N,3,9,9] x) => (float[N,6,5,5] y) <float[8,3,3,3] a, float[8] ab, float[6,8,3,3] b, float[6] bb>
{ ["a"] h = Conv <pads = [1,1,1,1]> (x, a, ab) r = Relu (h)
  ["b"] y = Conv <strides = [2,2], pads = [1,1,1,1]> (r, b, bb) }""",
    "transposed": """
g (float[N,3,5,5] x) => (float[N,6,11,11] y) <float[8,3,3,3] a, float[8] ab, float[8,6,3,3] b>
{ ["a"] h = Conv <pads = [1,1,1,1]> (x, a, ab) r = Relu (h)
  ["b"] y = ConvTranspose <strides = [2,2]> (r, b) }""",
    "gemm": """
g (float[N,12] x) => (float[N,6] y) <float[8,12] a, float[8] ab, float[6,8] b, float[6] bb>
{ ["a"] h = Gemm <transB = 1> (x, a, ab) r = Relu (h)
  ["b"] y = Gemm <transB = 1> (r, b, bb) }""",
}


@pytest.mark.parametrize("name", CHAINS)
def test_recoverable_layers_are_recovered(name):
    """Half of the hidden channels are copies of the other half, so removing them loses nothing."""
    original = parsed(CHAINS[name])
    set_weight(original, "a", doubled())
    set_weight(original, "a", doubled(), slot=2)
    model = without_second_half(original)
    assert distance(original, model) > 0.1
    report = repaired(model, original)
    assert distance(original, model) < 1e-5
    assert [(layer.name, layer.is_changed) for layer in report.layers] == [("a", False), ("b", True)]


def test_a_matrix_in_the_middle_of_leading_dimensions():
    original = parsed("""
g (float[N,5,12] x) => (float[N,5,6] y) <float[12,8] a, float[8] ab, float[8,6] b, float[6] bb>
{ ["a"] m = MatMul (x, a) h = Add (m, ab) r = Relu (h) ["b"] k = MatMul (r, b) y = Add (k, bb) }""")
    set_weight(original, "a", doubled(1))
    add = node(original, "a").outputs[0].outputs[0]
    edit.set_weight(original, add, 1, doubled()(add.inputs[1].values))
    model = without_second_half(original)
    assert distance(original, model) > 0.1
    repaired(model, original)
    assert distance(original, model) < 1e-5


def test_permuted_inputs_are_found_again():
    original = parsed(CHAINS["conv"])
    model = original.clone()
    order = np.random.default_rng(0).permutation(8)
    set_weight(model, "a", lambda values: values[order])
    set_weight(model, "a", lambda values: values[order], slot=2)
    repaired(model, original, layers=lambda n: n.name == "b")
    assert distance(original, model) < 1e-5


RESIDUAL = """
g (float[N,6,4,4] x) => (float[N,6,4,4] y) <float[6,6,1,1] a, float[6,6,1,1] b>
{ ["a"] r = Conv (x, a) ["b"] h = Conv (r, b) y = Add (h, r) }"""
TWO_BRANCHES = """
g (float[N,6,4,4] x) => (float[N,6,4,4] y) <float[6,6,1,1] a, float[6,6,1,1] b, float[6,6,1,1] c>
{ ["b"] h = Conv (x, b) ["c"] r = Conv (x, c) y = Add (h, r) }"""
LATE_SHORTCUT = """
g (float[N,6,4,4] x) => (float[N,6,4,4] y) <float[6,6,1,1] a, float[6,6,1,1] b>
{ ["a"] r = Conv (x, a) ["b"] h = Conv (r, b) n = Neg (r) s = Neg (n) y = Add (h, s) }"""


@pytest.mark.parametrize("text", [RESIDUAL, LATE_SHORTCUT], ids=["before", "behind"])
def test_the_last_layer_of_a_branch_corrects_the_shortcut(text):
    """With a changed shortcut the sum can still be exact, because the branch reads the same values."""
    original = parsed(text)
    model = original.clone()
    set_weight(model, "a", lambda values: values + 0.2 * np.roll(values, 1, 0))
    repaired(model, original, layers=lambda n: n.name == "b")
    assert distance(original, model) < 1e-5


def test_of_two_branches_the_last_takes_the_rest():
    original = parsed(TWO_BRANCHES)
    model = original.clone()
    set_weight(model, "b", np.flip)
    report = repaired(model, original, layers=lambda n: n.name == "c")
    assert [layer.name for layer in report.layers] == []  # neither it nor anything in front of it has changed
    set_weight(model, "c", lambda values: 0.5 * values)
    repaired(model, original, layers=lambda n: n.name == "c")
    assert distance(original, model) < 1e-5


BLOCKS = """
g (float[N,6,4,4] x) => (float[N,6,4,4] z) <float[6,6,1,1] a, float[6,6,1,1] b, float[6,6,1,1] c, float[6,6,1,1] d>
{ ["a"] r = Conv (x, a) ["b"] h = Conv (x, b) s = Add (h, r) ["c"] k = Conv (s, c) y = Add (s, k) e = Relu (y)
  ["d"] z = Conv (e, d) }"""


@pytest.mark.parametrize("keep_name", [True, False])
def test_the_layer_in_front_of_a_removed_branch_aims_at_the_present_meaning_of_its_sum(keep_name):
    """s = y = (I + C) s: the layer 'b' can produce that, unless the sum keeps its old meaning."""
    original = parsed(BLOCKS)
    model = original.clone()
    added = next(n for n in model.graph.nodes if n.outputs[0].name == "y")
    added.inputs[1] = added.inputs[0]
    edit.sweep(model)
    assert edit.bypass(model, added, added.inputs[0], keep_name=keep_name)
    report = repaired(model, original)
    assert [layer.name for layer in report.layers if layer.is_changed] == (["b"] if keep_name else ["d"])
    assert bool(distance(original, model) < 1e-5) == keep_name


def test_a_product_whose_added_bias_was_changed_is_repaired():
    original = parsed("""
g (float[N,6] x) => (float[N,5] y) <float[6,5] w, float[5] b> { ["w"] h = MatMul (x, w) ["b"] y = Add (h, b) }""")
    model = original.clone()
    set_weight(model, "b", lambda values: values + 1)
    repaired(model, original)
    assert distance(original, model) < 1e-5


def test_fewer_rows_take_fewer_positions():
    original = parsed(CHAINS["conv"])
    rows = {}
    for per_unknown in (4, 24):
        report = repaired(
            without_second_half(original), original, data_for(original, samples=4096), effort=Effort(per_unknown)
        )
        rows[per_unknown] = report.layers[0].rows
    assert rows[4] < rows[24] / 4


def test_a_sum_whose_other_term_depends_on_the_layer_is_not_a_target():
    original = parsed("""
g (float[N,6,4,4] x) => (float[N,6,4,4] y) <float[6,6,1,1] a>
{ ["a"] h = Conv (x, a) r = Relu (h) y = Add (h, r) }""")
    model = original.clone()
    set_weight(model, "a", lambda values: 0.5 * values)
    repaired(model, original)
    assert distance(original, model) < 1e-5


@pytest.mark.parametrize("name", CHAINS)
def test_an_unchanged_model_stays(name):
    original = parsed(CHAINS[name])
    model = original.clone()
    report = repaired(model, original)
    assert report.layers == ()
    assert model.proto() == original.proto()


def test_zeros_stay_and_the_other_weights_compensate():
    original = parsed(CHAINS["conv"])
    model = original.clone()
    mask = np.random.default_rng(0).random((6, 8, 3, 3)) < 0.5
    set_weight(model, "b", lambda values: values * mask)
    before = distance(original, model)
    (layer,) = repaired(model, original).layers
    assert distance(original, model) < 0.6 * before
    np.testing.assert_array_equal(node(model, "b").inputs[1].values != 0, mask)
    assert layer.after < layer.before


def test_a_stored_form_keeps_its_weights_and_gets_a_bias():
    original = parsed(CHAINS["conv"])
    model = parsed("""
g (float[N,3,9,9] x) => (float[N,6,5,5] y) <float[8,3,3,3] a, float[8] ab, int8[6,8,3,3] q, float s, float[6] bb>
{ ["a"] h = Conv <pads = [1,1,1,1]> (x, a, ab) r = Relu (h) f = Cast <to = 1> (q) b = Mul (f, s)
  ["b"] y = Conv <strides = [2,2], pads = [1,1,1,1]> (r, b, bb) }""")
    step = np.abs(node(original, "b").inputs[1].values).max() / 2
    constants = {c.name: c for c in model.constants()}
    edit.replace_values(model, constants["s"], np.float32(step))
    rounded = np.floor(node(original, "b").inputs[1].values / step)
    edit.replace_values(model, constants["q"], rounded.astype(np.int8))
    before = distance(original, model)
    (layer,) = repaired(model, original).layers
    assert (layer.free, layer.is_changed) == ("bias", True)
    assert distance(original, model) < 0.35 * before


def test_layers_that_compute_in_integers_are_refused():
    original = parsed('g (float[N,4] x) => (float[N,3] y) <float[4,3] w> { ["m"] y = MatMul (x, w) }')
    model = parsed("""
g (float[N,4] x) => (float[N,3] y) <float[4,3] w, float s, uint8 z>
{ q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) ["m"] y = MatMul (d, w) }""")
    (layer,) = repaired(model, original).layers
    assert layer.reason == "it computes in integers"


BATCHNORM = """
g (float[N,3,6,6] x) => (float[N,5,6,6] y) <float[5,3,1,1] a, float[5] g, float[5] b, float[5] m, float[5] v>
{ ["a"] h = Conv (x, a) ["bn"] n = BatchNormalization (h, g, b, m, v) y = Relu (n) }"""


def test_statistics_are_estimated_again():
    original = parsed(BATCHNORM)
    model = original.clone()
    scale = np.array([0.5, 2, 3, 0.1, 1]).reshape(5, 1, 1, 1)
    set_weight(model, "a", lambda values: values * scale)
    (layer,) = repaired(model, original, layers=lambda n: n.name == "bn").layers
    assert (layer.name, layer.free) == ("bn", "statistics")
    # The stored variance lacks epsilon, so it can't be scaled exactly.
    assert distance(original, model) < 1e-4


def test_statistics_that_fit_stay():
    original = parsed(BATCHNORM)
    model = original.clone()
    set_weight(model, "a", lambda values: values * 0.5)
    report = repaired(model, original)
    assert [layer.is_changed for layer in report.layers] == [True, False]
    np.testing.assert_array_equal(node(model, "bn").inputs[3].values, node(original, "bn").inputs[3].values)


def test_half_precision_stays():
    text = CHAINS["conv"].replace("float[", "float16[")
    original = parsed(text)
    model = without_second_half(original)
    (info,) = specs(original).inputs
    samples = np.random.default_rng(0).standard_normal((64, 3, 9, 9)).astype(np.float16)
    report = repaired(model, original, load({"x": samples}, [info]))
    weights = node(model, "b").inputs[1].values
    assert report.changed == 1
    assert weights.dtype == np.float16
    assert np.isfinite(weights).all()


def test_few_samples_do_no_harm():
    original = parsed("""
g (float[N,40] x) => (float[N,6] y) <float[64,40] a, float[6,64] b>
{ ["a"] h = Gemm <transB = 1> (x, a) r = Relu (h) ["b"] y = Gemm <transB = 1> (r, b) }""")
    model = without_second_half(original)
    before = distance(original, model)
    repaired(model, original, data_for(original, samples=12))
    assert distance(original, model) < 0.9 * before


def test_a_fixed_batch_and_a_last_one_that_is_not_full():
    original = parsed(CHAINS["conv"].replace("[N,", "[4,"))
    set_weight(original, "a", doubled())
    set_weight(original, "a", doubled(), slot=2)
    model = without_second_half(original)
    repaired(model, original, data_for(original, samples=30))
    feeds = next(iter(data_for(original, seed=1).batches(4)))
    a, b = (create(m).run(feeds)["y"] for m in (original, model))
    assert np.abs(a - b).max() < 1e-5 * np.abs(a).max()


def test_the_same_seed_gives_the_same_bytes():
    original = parsed(CHAINS["conv"])
    models = [without_second_half(original) for _ in range(2)]
    for model in models:
        repaired(model, original)
    assert models[0].proto() == models[1].proto()


def test_several_candidates_share_one_reference():
    original = parsed(CHAINS["conv"])
    data = data_for(original)
    reference = Reference(original, data, int(np.random.default_rng(0).integers(1 << 62)))
    first, second = without_second_half(original), without_second_half(original)
    repaired(first, original, data, reference=reference)
    recorded = reference._kept["y"].recording
    repaired(second, original, data, reference=reference)
    assert reference._kept["y"].recording is recorded
    assert first.proto() == second.proto()


def test_without_memory_the_nodes_since_the_cut_are_run_again(monkeypatch):
    original = parsed(CHAINS["conv"])
    models = [without_second_half(original) for _ in range(2)]
    repaired(models[0], original)
    monkeypatch.setattr(present_activations, "CUT_BYTES", 0)
    repaired(models[1], original)
    assert models[0].proto() == models[1].proto()


def test_a_value_that_the_original_does_not_have_is_not_a_target():
    original = parsed(CHAINS["gemm"])
    model = parsed("""
g (float[N,12] x) => (float[N,6] y) <float[2,12] u, float[8,2] a, float[8] ab, float[6,8] b, float[6] bb>
{ ["u"] m = Gemm <transB = 1> (x, u) ["a"] h = Gemm <transB = 1> (m, a, ab) r = Relu (h)
  ["b"] y = Gemm <transB = 1> (r, b, bb) }""")
    report = repaired(model, original)
    assert report.layers[0].reason == "the original has no value that corresponds to 'm'"
    assert [layer.is_changed for layer in report.layers[:2]] == [False, True]


def test_progress_has_a_step_for_each_layer():
    from contextlib import contextmanager

    seen = []

    @contextmanager
    def bars(label, total):
        seen.append((label, total))
        yield lambda done=1, note="": seen.append(done)

    original = parsed(CHAINS["conv"])
    repaired(without_second_half(original), original, progress=bars)
    assert seen == [("refit", 3), 1, 1, 1]


def test_a_product_of_two_computed_values_is_not_a_layer():
    original = parsed("""
g (float[N,4,6] x) => (float[N,4,4] y) <float[6,6] w, float[1] f>
{ ["m"] q = MatMul (x, w) t = Transpose <perm = [0,2,1]> (x) s = MatMul (q, t) y = Mul (s, f) }""")
    model = original.clone()
    set_weight(model, "m", lambda values: values * 0.5)
    assert [layer.name for layer in repaired(model, original).layers] == ["m"]
    assert distance(original, model) < 1e-5


def test_values_of_the_model_before_the_pass_correspond_by_name():
    """Earlier differences from the original are not rolled back, and removed channels do not matter."""
    original = parsed(CHAINS["gemm"])
    found = without_half(original, 0)
    set_weight(found, "a", lambda w: w * 1.5)
    model = found.clone()
    set_weight(model, "a", lambda w: w * 1.3)
    assert distance(found, model) > 0.1
    report = repaired(model, found, data_for(original, 400), is_found=True)
    assert report.layers[0].is_changed
    assert distance(found, model) < 1e-5
    assert distance(original, model) > 0.1


def test_nothing_differs_from_the_model_before_the_pass():
    original = parsed(CHAINS["conv"])
    model = without_second_half(original)
    assert repaired(model, model.clone(), is_found=True).layers == ()
