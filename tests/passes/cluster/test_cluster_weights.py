"""cluster-weights on whole models: what stays, what is shared, what the refit improves."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.spec import parse
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.compiler.storage.structure import Structure
from onnx_compress.passes.cluster.cluster_weights import ClusterWeights
from tests.behaviour import serialized
from tests.contexts import context

NET = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,6,9,9] x) => (float[N,6] y)
<float[16,6,3,3] a, float[16] ab, float[16,8,3,3] b, float[16] bb, float[16,6] m, float[6] c>
{ ["a"] h = Conv <pads = [1,1,1,1]> (x, a, ab) r = Relu (h)
  ["b"] s = Conv <group = 2, strides = [2,2]> (r, b, bb) t = Relu (s)
  p = GlobalAveragePool (t) f = Flatten (p) ["m"] z = MatMul (f, m) y = Add (z, c) }"""
SPLIT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,32] x) => (float[N,64] y) <float[32,64] loud, float[32,64] quiet, float faint>
{ a = MatMul (x, loud) b = MatMul (x, quiet) c = Mul (b, faint) y = Add (a, c) }"""
TIED = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,32] x) => (float[N,32] y) <float[32,32] w>
{ ["one"] a = MatMul (x, w) r = Relu (a) ["two"] y = MatMul (r, w) }"""


def data_for(model, samples=256, seed=0):
    (info,) = specs(model).inputs
    rng = np.random.default_rng(seed)
    # Correlated inputs, as in real nets: errors of weights can compensate for each other.
    mixed = rng.standard_normal((samples, *info.shape[1:]))
    mixed = mixed + 2 * mixed.mean(axis=1, keepdims=True) + 1
    return load({info.name: mixed.astype(np.float32)}, [info])


def clustered(original, with_data=True, overrides=(), scope="uniform", **options):
    item = ClusterWeights(scope=scope, **options)
    model = original.clone()
    ctx = context(item, model, original, data=data_for(original) if with_data else None, overrides=overrides)
    return model, item.run(model, ctx)


def distance(a, b):
    (feeds,) = data_for(a, seed=1).batches(256)
    x, y = (next(iter(create(model).run(feeds).values())) for model in (a, b))
    return np.linalg.norm(x - y) / np.linalg.norm(x - x.mean(axis=0))


def weights_of(model):
    return {constant.name: constant for constant in model.constants()}


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("bits", [2, 4])
def test_every_weight_has_so_many_values_and_zero_is_one(bits, with_data):
    original = from_text(NET)
    model, changed = clustered(original, with_data, bits=bits)
    assert changed == 2
    found = weights_of(model)
    for name in ("a", "b"):
        structure = found[name].structure
        assert structure is not None
        assert structure.codebook is not None
        assert len(np.union1d(structure.codebook, [0])) <= 1 << bits
        assert np.array_equal(np.unique(found[name].values), structure.codebook)
    assert np.array_equal(found["m"].values, weights_of(original)["m"].values) != with_data  # too small: only refitted


def test_solving_by_the_outputs_takes_most_of_the_error_away():
    original = from_text(NET)
    plain, _ = clustered(original, with_data=False, bits=3)
    solved, _ = clustered(original, bits=3)
    assert distance(original, solved) < 0.2 * distance(original, plain)


def test_what_training_has_made_of_the_layers_is_kept():
    original = from_text(NET)
    trained = original.clone()
    for name in ("a", "b"):
        node = next(n for n in trained.nodes() if n.name == name)
        edit.set_weight(trained, node, 1, node.inputs[1].values * np.float32(1.5))
    model = trained.clone()
    item = ClusterWeights(bits=5)
    ctx = context(item, model, original, data=data_for(original))
    item.run(model, ctx)
    assert distance(trained, model) < 0.01 * distance(original, model)


def test_biases_that_are_solved_for_are_whole_steps():
    """So that they pack well; a step is a power of two, far below the error of clustering."""
    original = from_text(NET)
    model, _ = clustered(original, bits=3)
    found = weights_of(model)
    for name in ("ab", "bb"):
        values = found[name].values.astype(np.float64)
        steps = [2.0**k for k in range(-30, 10) if np.array_equal(values, np.round(values / 2.0**k) * 2.0**k)]
        assert 2.0**-12 < max(steps) < np.abs(values).max()
    assert not np.array_equal(found["ab"].values, weights_of(original)["ab"].values)


def test_more_bits_lose_less():
    original = from_text(NET)
    losses = [distance(original, clustered(original, bits=bits)[0]) for bits in (1, 2, 3, 4, 6)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("with_data", [False, True])
def test_zeros_stay_zero(with_data):
    original = from_text(NET)
    rng = np.random.default_rng(0)
    masks = {}
    for name in ("a", "b"):
        constant = weights_of(original)[name]
        masks[name] = rng.random(constant.values.shape) < 0.3
        values = np.where(masks[name], constant.values, np.float32(0))
        edit.replace_values(original, constant, values, Structure.supported(values))
    model, _ = clustered(original, with_data, bits=3)
    for name, mask in masks.items():
        values = weights_of(model)[name].values
        assert not values[~mask].any()
        assert len(np.unique(values)) <= 8
        assert values[mask].any()


@pytest.mark.parametrize("init", ["forgy", "optimal"])
def test_the_same_bytes_every_time(init):
    original = from_text(NET)
    first, second = (serialized(clustered(original, bits=3, init=init)[0]) for _ in range(2))
    assert first == second


def test_a_weight_that_two_layers_share_stays_shared():
    original = from_text(TIED)
    model, changed = clustered(original, bits=4)
    assert changed == 1
    assert [c.name for c in model.constants() if len(c.outputs) == 2] == ["w"]
    assert len(np.unique(weights_of(model)["w"].values)) <= 16


def test_a_later_refit_keeps_the_codebook_and_repairs():
    original = from_text(NET)
    model, _ = clustered(original, with_data=False, bits=3)
    before = distance(original, model)
    item = registry.find("refit")()
    ctx = context(item, model, original, data=data_for(original))
    assert item.run(model, ctx) == 3
    for name in ("a", "b"):
        assert len(np.unique(weights_of(model)[name].values)) <= 8
    assert distance(original, model) < 0.2 * before


def test_what_encode_stores():
    """16,384 weights in 4 bits, and the nodes around them."""
    original = from_text("""<ir_version: 8, opset_import: ["" : 17]>
g (float[N,128] x) => (float[N,128] y) <float[128,128] w> { ["w"] y = MatMul (x, w) }""")
    sizes = {}
    for bits in (2, 4, 8):
        model, _ = clustered(original, bits=bits)
        encode = registry.find("encode")()
        encode.run(model, context(encode, model, original))
        sizes[bits] = len(serialized(model))
    for bits, size in sizes.items():
        assert 16384 * bits / 8 < size < 16384 * bits / 8 + 500 + (4 << bits)


def bits_of(model):
    found = {}
    for name in ("a", "b"):
        structure = weights_of(model)[name].structure
        assert structure is not None
        assert structure.codebook is not None
        found[name] = int(np.ceil(np.log2(len(np.union1d(structure.codebook, [0])))))
    return found


def test_a_recipe_sets_the_bits_of_a_layer():
    original = from_text(NET)
    assert bits_of(clustered(original, bits=3, overrides=(("a", {"bits": 5}),))[0]) == {"a": 5, "b": 3}


def test_bits_go_where_they_count():
    """Of two branches one hardly matters; all bits together are no more than with the same for both."""
    net = from_text(SPLIT)
    edit.replace_values(net, weights_of(net)["faint"], np.float32(0.01) * weights_of(net)["faint"].values)
    model, _ = clustered(net, bits=3, scope="global")
    counts = {name: len(np.unique(weights_of(model)[name].values)) for name in ("loud", "quiet")}
    assert counts["loud"] > 8 > counts["quiet"]
    sizes = [np.ceil(np.log2(count)) for count in counts.values()]
    assert sum(sizes) <= 6


def test_bits_are_whole_and_between_one_and_eight():
    with pytest.raises(UsageError, match="between 1 and 8"):
        parse("cluster:bits=9")
    with pytest.raises(UsageError, match="whole number"):
        parse("cluster:bits=2.5")
    assert parse("cluster") == [ClusterWeights()]
