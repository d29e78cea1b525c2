"""The distance of a candidate's outputs from the original's."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.metrics.divergence import Divergence
from onnx_compress.compiler.runtime.specs import specs
from tests.behaviour import run

CLASSES = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,6] x) => (float[N,5] y) <float[6,5] w, float[5] b> { ["last"] y = Gemm (x, w, b) }"""
MAPS = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,6,6] x) => (float[N,5,6,6] y) <float[5,3,1,1] w, float[5] b> { ["last"] y = Conv (x, w, b) }"""


def prepared(text, factor=1):
    model = from_text(text)
    node = next(model.nodes())
    edit.set_weight(model, node, 1, np.float32(factor) * input_value(node, 1))
    shape = [32, *specs(model).inputs[0].shape[1:]]
    data = load({"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}, specs(model).inputs)
    return model, data


def changed(model, slot, change):
    other = model.clone()
    node = next(other.nodes())
    edit.set_weight(other, node, slot, change(input_value(node, slot)))
    return other


def outputs(model, data):
    return run(model, {"x": next(data.batches(32))["x"]})[0].astype(np.float64)


def test_of_class_scores_it_is_the_divergence_of_probabilities():
    model, data = prepared(CLASSES, factor=10)
    divergence = Divergence(model, data, 10)
    assert divergence.of(model) == 0
    # The same number added to all logits changes no probability.
    assert divergence.of(changed(model, 2, lambda bias: bias + np.float32(3))) < 1e-6
    other = changed(model, 2, lambda bias: bias + np.arange(5, dtype=np.float32))
    p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (outputs(model, data), outputs(other, data)))
    assert divergence.of(other) == pytest.approx(np.mean(np.sum(p * np.log(p / q), 1)), rel=1e-3)


def test_batches_count_by_their_samples():
    model, data = prepared(CLASSES, factor=10)
    other = changed(model, 2, lambda bias: bias + np.arange(5, dtype=np.float32))
    whole, parts = (Divergence(model, data, batch).of(other) for batch in (32, 10))  # the last part has two samples
    assert parts == pytest.approx(whole, rel=1e-6)


def test_of_other_outputs_it_is_their_relative_error():
    model, data = prepared(MAPS)
    divergence = Divergence(model, data, 32)
    other = changed(changed(model, 1, np.zeros_like), 2, np.zeros_like)
    y = outputs(model, data)
    assert divergence.of(other) == pytest.approx(np.mean(y**2) / y.var(), rel=1e-4)


@pytest.mark.parametrize("text", [CLASSES, MAPS])
def test_nan_is_infinitely_far(text):
    model, data = prepared(text)
    assert Divergence(model, data, 32).of(changed(model, 1, lambda w: np.full_like(w, np.nan))) == np.inf


def test_another_shape_is_infinitely_far():
    model, data = prepared(MAPS)
    narrow = from_text(MAPS.replace("[N,5,6,6]", "[N,4,6,6]").replace("float[5", "float[4"))
    assert Divergence(model, data, 32).of(narrow) == np.inf
