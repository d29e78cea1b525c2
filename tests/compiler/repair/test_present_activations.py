from __future__ import annotations

import numpy as np

from onnx_compress.compiler.repair import present_activations
from onnx_compress.compiler.repair.present_activations import Prefix, static_values
from tests.compiler.repair.repaired_models import (
    CHAINS,
    data_for,
    node,
    parsed,
    repaired,
    set_weight,
    without_second_half,
)


def test_without_memory_the_nodes_since_the_cut_are_run_again(monkeypatch):
    original = parsed(CHAINS["conv"])
    models = [without_second_half(original) for _ in range(2)]
    repaired(models[0], original)
    monkeypatch.setattr(present_activations, "CUT_BYTES", 0)
    repaired(models[1], original)
    assert models[0].proto() == models[1].proto()


TEXT = """
g (float[N,4] x) => (float[N,4] y) <float[4,4] a, float[4,4] b, float[4] s, float[4] t>
{ ["a"] h = MatMul (x, a) r = Relu (h) u = Mul (s, t) ["b"] k = MatMul (r, b) y = Add (k, u) }"""


def test_values_are_those_of_the_weights_as_they_are_when_asked():
    model = parsed(TEXT)
    data = data_for(model, samples=10)
    first, second = node(model, "a"), node(model, "b")
    prefix = Prefix(model, data, 4, [(each, [each.inputs[0]]) for each in (first, second)])
    x = np.concatenate([arrays["x"] for arrays in prefix.batches(first, [first.inputs[0]])])
    set_weight(model, "a", lambda values: 2 * values)
    r = np.concatenate([arrays["r"] for arrays in prefix.batches(second, [second.inputs[0]])])
    assert len(x) == len(r) == 10
    expected = np.maximum(x @ first.inputs[1].values, 0)
    np.testing.assert_allclose(r, expected, rtol=1e-5, atol=1e-5)


def test_where_the_cut_stays_weights_in_front_may_change():
    model = parsed(TEXT)
    second = node(model, "b")
    prefix = Prefix(model, data_for(model, samples=4), 4, [(second, [second.inputs[0]])] * 2)
    (before,) = prefix.batches(second, [second.inputs[0]], stay=True)
    set_weight(model, "a", lambda values: 2 * values)
    (after,) = prefix.batches(second, [second.inputs[0]])
    np.testing.assert_allclose(after["r"], 2 * before["r"], rtol=1e-5)


def test_static_values_depend_on_no_input():
    model = parsed(TEXT)
    assert {tensor.name for tensor in static_values(model)} == {"a", "b", "s", "t", "u"}
    random = parsed("g (float[N,4] x) => (float[N,4] y) <float[4] s> { r = RandomNormalLike (s) y = Add (x, r) }")
    assert {tensor.name for tensor in static_values(random)} == {"s"}
