from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.runtime.specs import specs
from tests.compiler.repair.repaired_models import (
    CHAINS,
    data_for,
    distance,
    doubled,
    node,
    parsed,
    repaired,
    set_weight,
    without_second_half,
)


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
