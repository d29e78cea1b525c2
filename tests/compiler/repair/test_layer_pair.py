"""Two layers fitted together: rows, padding, and a lower error than one after the other."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.repair import refitting, samples
from onnx_compress.compiler.repair.behind_activation import Bounds, Target
from onnx_compress.compiler.repair.layer_pair import Pair, Sample
from onnx_compress.compiler.repair.original_activations import Reference
from onnx_compress.compiler.repair.plan import FitStep, plan
from onnx_compress.compiler.repair.windows import Windows
from onnx_compress.compiler.storage.structure import Structure
from tests.compiler.repair.test_refitting import data_for, distance, parsed, repaired, set_weight, without_second_half

RELU = Bounds(0.0, np.inf)
CONVS = """
g (float[N,4,9,9] x) => (float[N,5,5,5] y) <float[12,4,3,3] a, float[12] ab, float[5,12,3,3] b, float[5] bb>
{ ["a"] h = Conv <pads = [1,1,1,1]> (x, a, ab) r = Relu (h)
  ["b"] y = Conv <pads = [1,1,1,1], strides = [2,2]> (r, b, bb) }"""
PRODUCTS = """
g (float[N,12] x) => (float[N,5] y) <float[16,12] a, float[16] ab, float[5,16] b, float[5] bb>
{ ["a"] h = Gemm <transB = 1> (x, a, ab) r = Relu (h) ["b"] y = Gemm <transB = 1> (r, b, bb) }"""


def one_after_another(model, original, data, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(refitting._Fitter, "refine_first", lambda *rest: False)
        return repaired(model, original, data)


@pytest.mark.parametrize(("text", "count"), [(CONVS, 400), (PRODUCTS, 4000)], ids=["convs", "products"])
def test_together_the_error_is_lower(text, count, monkeypatch):
    original = parsed(text)
    data = data_for(original, count)
    apart, together = without_second_half(original), without_second_half(original)
    one_after_another(apart, original, data, monkeypatch)
    repaired(together, original, data)
    assert distance(original, together) < 0.82 * distance(original, apart)


@pytest.mark.parametrize(("text", "count"), [(CONVS, 400), (PRODUCTS, 4000)], ids=["convs", "products"])
@pytest.mark.parametrize("sparse", [("a",), ("a", "b")], ids=["first", "both"])
def test_with_zeros_that_stay_the_error_is_lower_too(text, count, sparse, monkeypatch):
    original = parsed(text)
    data = data_for(original, count)
    apart, together = original.clone(), original.clone()
    for model in (apart, together):
        for name in sparse:
            set_weight(model, name, every_other)
    one_after_another(apart, original, data, monkeypatch)
    repaired(together, original, data)
    assert distance(original, together) < 0.97 * distance(original, apart)
    for name in sparse:
        values = next(n for n in together.graph.nodes if n.name == name).inputs[1].values
        assert np.count_nonzero(values) <= (values.size + 1) // 2


def test_where_solving_for_steps_would_take_too_long_layers_stay_apart(monkeypatch):
    original = parsed(PRODUCTS)
    data = data_for(original, 400)
    models = []
    for most in (samples.SOLVER, 0):
        monkeypatch.setattr(samples, "SOLVER", most)
        models.append(original.clone())
        set_weight(models[-1], "a", every_other)
        repaired(models[-1], original, data)
    apart = original.clone()
    set_weight(apart, "a", every_other)
    one_after_another(apart, original, data, monkeypatch)
    assert distance(models[1], apart) == 0
    assert distance(models[0], apart) > 0


def every_other(weights):
    """The weights with the smaller of every two neighbours set to zero."""
    flat = np.resize(weights, (weights.size + weights.size % 2)).reshape(-1, 2)
    kept = np.abs(flat) == np.abs(flat).max(axis=1, keepdims=True)
    return (flat * kept).reshape(-1)[: weights.size].reshape(weights.shape)


@pytest.mark.parametrize(("stride", "dilation", "pad"), list(product((1, 2), (1, 2), (0, 1))))
def test_positions_are_those_that_gather_reads(stride, dilation, pad):
    windows = Windows(
        kernel=(3, 2),
        stride=(stride, 1),
        dilation=(dilation, 1),
        pads=(pad, pad, pad, pad)[:2],
        output_padding=(0, 0),
        auto_pad="NOTSET",
        is_transposed=False,
        has_output_shape=False,
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6)).astype(np.float32)
    outs = ((7 + 2 * pad - 2 * dilation - 1) // stride + 1, 6 + 2 * pad - 1)
    places = np.arange(2 * outs[0] * outs[1])
    positions, is_outside = windows.positions((2, 7, 6), places, outs)
    flat = np.moveaxis(x, 1, -1).reshape(-1, 3)[positions]
    flat[is_outside] = 0
    np.testing.assert_array_equal(flat, windows.gather(x, places, outs))


@pytest.mark.parametrize(
    ("change", "is_pair"),
    [
        (("", ""), True),
        (("r = Relu (h)", "r = Sigmoid (h)"), False),
        (("float[N,5,5,5] y)", "float[N,5,5,5] y, float[N,12,9,9] r)"), False),
        (("float[N,5,5,5] y)", "float[N,5,5,5] y, float[N,12,9,9] h)"), False),
    ],
)
def test_a_pair_has_only_its_bounds_in_between(change, is_pair):
    original = parsed(CONVS.replace(*change) if change[0] else CONVS)
    model = without_second_half(original) if is_pair or "Sigmoid" in change[1] else changed(original)
    steps = [s for s in plan(model, Reference(original, data_for(original))) if isinstance(s, FitStep)]
    assert [step.first is not None for step in steps] == [False, is_pair]


def test_zeros_of_the_first_layer_stay_zero():
    original = parsed(CONVS)
    model = without_second_half(original)
    set_weight(model, "a", lambda w: np.where(np.arange(w.size).reshape(w.shape) % 3, w, 0))
    data = data_for(original, 200)
    report = repaired(model, original, data)
    assert report.layers[-1].is_changed
    values = next(n for n in model.graph.nodes if n.name == "a").inputs[1].values
    assert not values[np.arange(values.size).reshape(values.shape) % 3 == 0].any()


def test_zeros_that_are_set_on_the_way_stay_zero():
    original = parsed(CONVS)
    model = without_second_half(original)

    def change(layer, sums):
        weights = layer.weights()
        return weights * (np.arange(weights.size).reshape(weights.shape) % 3 > 0), layer.shift()

    repaired(model, original, data_for(original, 400), change=change)
    for name in ("a", "b"):
        values = next(n for n in model.graph.nodes if n.name == name).inputs[1].values
        assert np.count_nonzero(values) <= values.size - values.size // 3


def test_a_layer_is_changed_once_though_it_is_solved_for_twice():
    original = parsed(CONVS)
    names = []
    repaired(
        without_second_half(original),
        original,
        data_for(original, 400),
        change=lambda layer, sums: names.append(layer.node.name),
    )
    assert names == ["a", "b"]


@pytest.mark.parametrize("name", ["a", "b"])
def test_layers_with_a_codebook_are_not_a_pair(name):
    original = parsed(CONVS)
    model = changed(original)
    node = next(n for n in model.graph.nodes if n.name == name)
    signs = np.sign(node.inputs[1].values)
    edit.set_weight(model, node, 1, signs, structure=Structure.tied(signs))
    steps = [s for s in plan(model, Reference(original, data_for(original))) if isinstance(s, FitStep)]
    assert [step.first is not None for step in steps] == [False, False]


def changed(original):
    """A copy whose first layer differs."""
    model = original.clone()
    set_weight(model, "a", lambda w: w * 1.5)
    return model


def test_nothing_is_found_where_the_first_layer_is_right_already():
    rng = np.random.default_rng(0)
    inputs = np.ones((64, 1, 5), np.float32)
    inputs[..., :-1] = rng.standard_normal((64, 1, 4))
    first, second = rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float32)
    hidden = np.maximum(inputs[:, 0] @ first, 0)
    targets = hidden @ second[:-1] + second[-1]
    sample = Sample(inputs, np.zeros((64, 1), bool), Target(targets, -np.inf, np.inf))
    assert Pair(first, second, RELU, [sample], [sample]).refine() is None
