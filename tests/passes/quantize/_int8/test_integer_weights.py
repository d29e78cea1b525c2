"""Integer weights: rounded once, shared by all copies of a model."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._int8 import integer_weights
from onnx_compress.passes.quantize._int8.integer_weights import IntegerWeights

INT8, UINT8 = np.dtype(np.int8), np.dtype(np.uint8)
MODEL = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,2] x) => (float[N,3] y) <float[2,3] w = {1, -2, 4, 0.5, 1, -8}> { y = MatMul (x, w) }"""


@pytest.fixture
def model():
    return from_text(MODEL)


def weight_of(model):
    return next(iter(model.constants()))


def test_copies_share_the_integers_and_round_once(model, monkeypatch):
    calls = []
    inner = integer_weights.round_groups
    monkeypatch.setattr(
        integer_weights, "round_groups", lambda *args, **kwargs: calls.append(1) or inner(*args, **kwargs)
    )
    known = IntegerWeights()
    one, two = (known.of(weight_of(copy), 1, INT8) for copy in (model, model.clone()))
    assert one.integers is two.integers
    assert calls == [1]


@pytest.mark.parametrize(("axis", "channels"), [(0, 2), (1, 3)])
def test_each_channel_has_its_scale(model, axis, channels):
    rounded = IntegerWeights().of(weight_of(model), axis, INT8)
    assert rounded.integers.shape == (2, 3)
    assert rounded.scales.shape == (channels,)
    scales = np.expand_dims(rounded.scales, 1 - axis)
    np.testing.assert_allclose(rounded.integers * scales, weight_of(model).values, atol=0.51 * scales.max())


def test_one_scale_for_all(model):
    assert IntegerWeights().of(weight_of(model), 1, INT8, per_channel=False).scales.shape == (1,)


def test_seven_bits_stay_below_64(model):
    assert np.abs(IntegerWeights(bits=7).of(weight_of(model), 1, INT8).integers).max() == 63


def test_unsigned_weights_are_shifted(model):
    known = IntegerWeights()
    signed, unsigned = (known.of(weight_of(model), 1, dtype) for dtype in (INT8, UINT8))
    assert (signed.zero, unsigned.zero) == (0, 128)
    assert unsigned.integers.dtype == np.uint8
    np.testing.assert_array_equal(unsigned.integers.astype(int) - 128, signed.integers)


def test_scales_are_raised_only_where_a_bias_demands_it(model):
    known = IntegerWeights()
    natural = known.of(weight_of(model), 1, INT8)
    assert known.of(weight_of(model), 1, INT8, natural.scales / 2) is natural
    least = natural.scales * np.array([1, 3, 1])
    np.testing.assert_allclose(known.of(weight_of(model), 1, INT8, least).scales, least, rtol=1e-6)
