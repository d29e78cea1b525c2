import numpy as np
import pytest

import onnx_compress
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.memory import Memory
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.ir.weights import input_constant, input_value
from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.compiler.storage.structure import Structure
from onnx_compress.passes.sparsify import _curves
from onnx_compress.passes.sparsify.sparsify_weights import SparsifyWeights
from tests.behaviour import run, serialized
from tests.contexts import context

NET = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4,8,8] x) => (float[N,6] y)
<float[16,4,3,3] a, float[16] b, float[16,16,3,3] c, float[16] d, float[6,16] e, float[6] f>
{ ["one"] h = Conv <pads = [1,1,1,1]> (x, a, b) r = Relu (h) ["two"] i = Conv <pads = [1,1,1,1]> (r, c, d)
  s = Relu (i) p = GlobalAveragePool (s) q = Flatten (p) ["three"] y = Gemm <transB = 1> (q, e, f) }"""
LAYERS = ("one", "two", "three")


def net() -> Model:
    return from_text(NET)


def images(count=64, seed=3):
    """Correlated, as pictures are: each channel is a mixture of two."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(5).standard_normal((4, 2))
    return np.einsum("cd,ndhw->nchw", mixing, rng.standard_normal((count, 2, 8, 8))).astype(np.float32)


def sparsify(model: Model, *, real=False, exclude=(), overrides=(), original=None, **options) -> Context:
    item = SparsifyWeights(**options)
    data = {"x": images()} if real else None
    ctx = context(item, model, original, data=data, exclude=exclude, overrides=overrides)
    ctx.changed = item.run(model, ctx)
    return ctx


def weight(model, name):
    return input_value(next(n for n in model.nodes() if n.name == name), 1)


def density(model, names=LAYERS):
    found = [weight(model, name) for name in names]
    return sum(np.count_nonzero(w) for w in found) / sum(w.size for w in found)


def far(original, model):
    feeds = {"x": images(32, seed=11)}
    before, after = run(original, feeds)[0], run(model, feeds)[0]
    return float(np.square(before - after).mean() / before.var())


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("criterion", ["activation", "obs", "magnitude", "std", "lamp"])
@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_the_share_of_zeros_is_the_requested_one(criterion, scope, real):
    model = net()
    ctx = sparsify(model, real=real, sparsity=0.75, criterion=criterion, scope=scope, rounds=2)
    assert density(model) == pytest.approx(0.25, abs=0.005)
    assert 2 <= ctx.changed <= 3
    assert ctx.notes["sparsity"] == pytest.approx(0.75, abs=0.005)
    if scope == "uniform":
        assert all(density(model, [name]) == pytest.approx(0.25, abs=0.02) for name in LAYERS)


def test_solving_again_beats_dropping():
    errors = {}
    for real in (True, False):
        model = net()
        sparsify(model, real=real, sparsity=0.7, scope="uniform", criterion="magnitude")
        errors[real] = far(net(), model)
    assert errors[True] < 0.02 * errors[False]


def test_what_training_has_made_of_the_layers_is_kept():
    trained = net()
    node = next(n for n in trained.nodes() if n.name == "one")
    edit.set_weight(trained, node, 1, weight(trained, "one") * np.float32(1.5))
    model = trained.clone()
    sparsify(model, real=True, sparsity=0.5, scope="uniform", original=net())
    assert far(trained, model) < 0.05 * far(net(), model)


def test_measured_losses_beat_the_same_share_everywhere():
    """The second layer's kernel hardly matters except in its centre."""
    errors = {}
    for scope in ("uniform", "global"):
        model = net()
        node = next(n for n in model.nodes() if n.name == "two")
        values = weight(model, "two") * np.float32(0.01)
        values[:, :, 1, 1] *= 100
        edit.set_weight(model, node, 1, values)
        original = model.clone()
        sparsify(model, real=True, sparsity=0.7, scope=scope, rounds=3)
        errors[scope] = far(original, model)
    assert errors["global"] < 0.03 * errors["uniform"]


def test_an_open_sparsity_goes_as_far_as_the_budget_allows():
    """Only four of 64 inputs determine the class."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 4, 400)
    x = rng.normal(0, 0.05, (400, 64)).astype(np.float32)
    x[np.arange(400), labels] += 1
    weights = rng.normal(0, 0.01, (64, 4)).astype(np.float32)
    weights[:4] += 10 * np.eye(4, dtype=np.float32)
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,64] x) => (float[N,4] y) <float[64,4] w> {'
    model = from_text(text + " y = MatMul (x, w) }")
    edit.replace_values(model, next(model.constants()), weights)
    found = onnx_compress.compress(model, "sparsify-weights", data={"x": x, "labels": labels}).model
    assert 4 <= np.count_nonzero(next(found.constants()).values) <= 6


@pytest.mark.parametrize("real", [True, False])
def test_of_every_four_inputs_two_stay(real):
    model = net()
    sparsify(model, real=real, sparsity=0.5, pattern="2of4", rounds=2)
    for name in LAYERS:
        kernel = weight(model, name)
        runs = kernel.reshape(len(kernel), -1, 4, *kernel.shape[2:])
        assert (np.count_nonzero(runs, axis=2) <= 2).all()
    assert density(model) == pytest.approx(0.5, abs=0.005)


def test_with_less_sparsity_only_the_layers_that_lose_least_get_the_pattern():
    model = net()
    sparsify(model, real=True, sparsity=0.1, pattern="2of4")
    found = [density(model, [name]) for name in LAYERS]
    assert found == [0.5, 0.5, 1.0]  # half of layer one is just less than a tenth of all weights


def test_shapes_are_the_same_for_all_filters():
    model = net()
    sparsify(model, real=True, sparsity=0.6, pattern="shape", rounds=3)
    for name in LAYERS:
        mask = weight(model, name) != 0
        assert (mask == mask[:1]).all()
    assert 0.38 < density(model) <= 0.41


def test_blocks_are_zero_as_a_whole():
    model = net()
    sparsify(model, real=True, sparsity=0.6, pattern="4x2", rounds=3)
    kernel = weight(model, "two") != 0
    blocks = kernel.reshape(4, 4, 8, 2, 3, 3)
    counts = blocks.sum(axis=(1, 3))
    assert set(np.unique(counts)) == {0, 8}


@pytest.mark.parametrize("real", [True, False])
def test_the_zeros_are_noted_with_the_weight(real):
    model = net()
    sparsify(model, real=real, sparsity=0.8, scope="uniform")
    for name in LAYERS:
        constant = input_constant(next(n for n in model.nodes() if n.name == name), 1)
        assert constant.structure is not None
        np.testing.assert_array_equal(constant.structure.mask(constant.values.shape), constant.values != 0)


@pytest.mark.parametrize("real", [True, False])
def test_excluded_layers_stay_as_they_are(real):
    model = net()
    before = np.array(weight(model, "two"))
    sparsify(model, real=real, sparsity=0.5, exclude=("two",))
    np.testing.assert_array_equal(weight(model, "two"), before)
    assert density(model, ["one", "three"]) == pytest.approx(0.5, abs=0.01)


def test_a_layer_can_have_a_sparsity_and_a_pattern_of_its_own():
    model = net()
    overrides = (("one", {"sparsity": 0.25}), ("three", {"sparsity": 0.0}))
    sparsify(model, real=True, sparsity=0.5, overrides=overrides)
    assert density(model, ["one"]) == pytest.approx(0.75, abs=0.005)
    assert density(model, ["three"]) == 1
    assert density(model) == pytest.approx(0.5, abs=0.005)
    model = net()
    sparsify(model, sparsity=0.5, overrides=(("two", {"pattern": "shape", "sparsity": 0.5}),))
    mask = weight(model, "two") != 0
    assert (mask == mask[:1]).all()


def test_zeros_that_are_there_count_and_stay():
    model = net()
    sparsify(model, sparsity=0.5, scope="uniform")
    mask = weight(model, "two") != 0
    ctx = sparsify(model, real=True, sparsity=0.7, scope="uniform")
    assert ctx.changed == 3
    assert density(model) == pytest.approx(0.3, abs=0.01)
    assert not weight(model, "two")[~mask].any()


def test_what_is_sparse_enough_stays():
    model = net()
    sparsify(model, sparsity=0.5, scope="uniform")
    before = serialized(model)
    assert sparsify(model, sparsity=0.4, scope="uniform").changed == 0
    assert serialized(model) == before


@pytest.mark.parametrize("real", [True, False])
def test_a_codebook_gets_zero_as_one_more_value(real):
    model = net()
    node = next(n for n in model.nodes() if n.name == "two")
    values = np.sign(weight(model, "two")) * np.float32(0.1)
    edit.set_weight(model, node, 1, values, structure=Structure.tied(values))
    sparsify(model, real=real, sparsity=0.5, scope="uniform")
    low, zero, high = input_constant(node, 1).structure.codebook.tolist()
    assert low < zero == 0 < high
    assert ([low, high] == [np.float32(-0.1), np.float32(0.1)]) is not real  # with data they are solved for
    share = density(model, ["two"])
    assert 0 < share <= 0.505 if real else share == pytest.approx(0.5, abs=0.005)  # solving makes further weights zero


def test_a_pattern_out_of_reach_says_how_far_it_goes():
    model = net()
    ctx = sparsify(model, sparsity=0.9, pattern="2of4")
    assert ctx.missed == ["50% of the weights are zero, 90% requested"]


def test_weights_that_are_not_numbers_do_no_harm():
    model = net()
    node = next(n for n in model.nodes() if n.name == "two")
    values = np.array(weight(model, "two"))
    values[0, 0] = np.nan
    edit.set_weight(model, node, 1, values)
    sparsify(model, real=True, sparsity=0.5, rounds=2)
    assert np.isfinite(weight(model, "one")).all()


def test_the_same_command_gives_the_same_bytes():
    results = []
    for _ in range(2):
        model = net()
        sparsify(model, real=True, sparsity=0.8, rounds=3)
        results.append(serialized(model))
    assert results[0] == results[1]


def test_the_alias_names_it():
    assert registry.find("sparsify") is SparsifyWeights


def test_a_search_measures_once_and_another_model_again(monkeypatch):
    measured = []
    inner = _curves._measured
    monkeypatch.setattr(_curves, "_measured", lambda *given: measured.append(1) or inner(*given))
    found, memory = net(), Memory()
    data = load({"x": images()}, specs(found).inputs)
    for sparsity, factor in ((0.3, 1), (0.5, 1), (0.5, 2)):
        model = found.clone()
        if factor != 1:
            node = next(n for n in model.nodes() if n.name == "two")
            edit.set_weight(model, node, 1, np.float32(factor) * weight(model, "two"))
        item = SparsifyWeights(sparsity=sparsity, rounds=1)
        ctx = context(item, model, data=data)
        ctx.memory = memory
        item.run(model, ctx)
        assert density(model) == pytest.approx(1 - sparsity, abs=0.005)
    assert len(measured) == 2


def test_a_shared_weight_gets_sparse_for_all_its_readers():
    model = from_text("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,16] x) => (float[N,16] y) <float[16,16] w>
        { v = Identity (w) ["one"] a = MatMul (x, v) b = Relu (a) ["two"] y = MatMul (b, w) }""")
    sparsify(model, sparsity=0.75)
    assert density(model, ["one", "two"]) == 0.25
    assert len(list(model.constants())) == 1
