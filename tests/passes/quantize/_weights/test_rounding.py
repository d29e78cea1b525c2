"""Scales of least squared error, compared with brute force."""

import numpy as np
import pytest

from onnx_compress.passes.quantize._weights.rounding import limit, round_groups


def error(weights, rounded):
    return np.square(weights - rounded.integers * rounded.scales[:, None].astype(np.float64)).sum(1)


def brute_force(row, top):
    """The least squared error over 20,000 scales up to the one that clips nothing."""
    widest = np.abs(row).max() / top
    best = np.inf
    for scale in np.linspace(widest / 3, widest, 20000):
        best = min(best, np.square(row - np.clip(np.rint(row / scale), -top, top) * scale).sum())
    return best


@pytest.mark.parametrize(("bits", "slack"), [(8, 1.12), (7, 1.12), (4, 1.03)])
def test_the_error_is_near_that_of_brute_force(bits, slack):
    weights = np.random.default_rng(0).standard_normal((4, 64))
    found = error(weights, round_groups(weights, bits))
    best = np.array([brute_force(row, limit(bits)) for row in weights])
    assert (found <= slack * best).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_the_search_never_raises_the_error(bits):
    weights = np.random.default_rng(1).standard_t(3, (32, 50)).astype(np.float32)
    searched, plain = round_groups(weights, bits), round_groups(weights, bits, search=False)
    assert (error(weights, searched) <= error(weights, plain) * (1 + 1e-12)).all()
    assert np.abs(searched.integers).max() <= limit(bits)


def test_a_group_of_zeros_has_a_scale_and_stays_zero():
    rounded = round_groups(np.zeros((2, 8), np.float32), 8)
    assert (rounded.integers == 0).all()
    assert (rounded.scales == 1).all()


def test_subnormal_weights_do_not_divide_by_zero():
    rounded = round_groups(np.full((1, 4), 1e-44, np.float32), 8)
    assert np.isfinite(rounded.scales).all()
    assert (rounded.integers == 0).all()


def test_the_least_scale_holds():
    weights = np.full((2, 4), 0.5, np.float32)
    least = np.array([1.0, 0.0])
    rounded = round_groups(weights, 8, least=least)
    assert rounded.scales[0] == 1.0
    assert rounded.scales[1] == np.float32(0.5 / 127)


def test_the_result_does_not_depend_on_the_chunks(monkeypatch):
    weights = np.random.default_rng(2).standard_normal((64, 100)).astype(np.float32)
    whole = round_groups(weights, 4)
    monkeypatch.setattr("onnx_compress.passes.quantize._weights.rounding.CHUNK", 300)
    parts = round_groups(weights, 4)
    assert np.array_equal(whole.integers, parts.integers)
    assert np.array_equal(whole.scales, parts.scales)
