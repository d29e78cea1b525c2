from __future__ import annotations

import pytest

from tests.compiler.repair.repaired_models import (
    CHAINS,
    distance,
    parsed,
    repaired,
    set_weight,
    without_second_half,
)


def test_a_product_whose_added_bias_was_changed_is_repaired():
    original = parsed("""
g (float[N,6] x) => (float[N,5] y) <float[6,5] w, float[5] b> { ["w"] h = MatMul (x, w) ["b"] y = Add (h, b) }""")
    model = original.clone()
    set_weight(model, "b", lambda values: values + 1)
    repaired(model, original)
    assert distance(original, model) < 1e-5


@pytest.mark.parametrize("name", CHAINS)
def test_an_unchanged_model_stays(name):
    original = parsed(CHAINS[name])
    model = original.clone()
    report = repaired(model, original)
    assert report.layers == ()
    assert model.proto() == original.proto()


def test_a_product_of_two_computed_values_is_not_a_layer():
    original = parsed("""
g (float[N,4,6] x) => (float[N,4,4] y) <float[6,6] w, float[1] f>
{ ["m"] q = MatMul (x, w) t = Transpose <perm = [0,2,1]> (x) s = MatMul (q, t) y = Mul (s, f) }""")
    model = original.clone()
    set_weight(model, "m", lambda values: values * 0.5)
    assert [layer.name for layer in repaired(model, original).layers] == ["m"]
    assert distance(original, model) < 1e-5


def test_nothing_differs_from_the_model_before_the_pass():
    original = parsed(CHAINS["conv"])
    model = without_second_half(original)
    assert repaired(model, model.clone(), is_found=True).layers == ()
