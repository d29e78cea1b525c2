"""Histograms collected in batches, and the ranges computed from them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.passes.quantize._int8 import value_range
from onnx_compress.passes.quantize._int8.histogram import Histogram
from onnx_compress.passes.quantize._int8.value_range import Range, affine


def seen(values, batch=None):
    histogram = Histogram()
    for start in range(0, len(values), batch or len(values)):
        histogram.observe(values[start : start + (batch or len(values))])
    return histogram


def test_the_counts_do_not_depend_on_the_batches():
    values = np.random.default_rng(0).standard_normal(10000).astype(np.float32) * np.linspace(0.01, 50, 10000)
    whole, parts = seen(values), seen(values, 37)
    assert np.array_equal(whole.counts, parts.counts)
    assert (whole.low, whole.high, whole.limit) == (parts.low, parts.high, parts.limit)
    assert whole.counts.sum() == 10000


def test_infinite_values_and_nan_are_left_out():
    histogram = seen(np.array([np.nan, -np.inf, 1.0, 2.0, np.inf], np.float32))
    assert (histogram.low, histogram.high, histogram.count) == (1.0, 2.0, 2)


def test_an_empty_tensor_has_an_empty_range():
    histogram = Histogram()
    histogram.observe(np.zeros((0, 3), np.float32))
    assert value_range.minmax(histogram) == Range(0.0, 0.0)
    assert value_range.percentile(histogram, 99.0) == Range(0.0, 0.0)
    assert value_range.entropy(histogram) == Range(0.0, 0.0)


def test_percentile_is_that_of_the_values():
    values = np.random.default_rng(1).standard_normal(200_000).astype(np.float32)
    found = value_range.percentile(seen(values), 99.0)
    bin_width = 2 * seen(values).limit / 4096
    assert found.low == pytest.approx(np.percentile(values, 0.5), abs=2 * bin_width)
    assert found.high == pytest.approx(np.percentile(values, 99.5), abs=2 * bin_width)


def test_all_values_are_the_full_range():
    values = np.random.default_rng(2).standard_normal(1000).astype(np.float32)
    assert value_range.percentile(seen(values), 100.0) == value_range.minmax(seen(values))


def test_entropy_clips_a_lone_outlier_and_not_a_uniform_spread():
    rng = np.random.default_rng(3)
    bulk = np.abs(rng.standard_normal(100_000)).astype(np.float32)
    assert value_range.entropy(seen(np.append(bulk, np.float32(20)))).high < 10
    assert value_range.entropy(seen(rng.random(100_000).astype(np.float32))).high > 0.9


def test_zeros_of_a_relu_do_not_decide_the_entropy():
    bulk = np.abs(np.random.default_rng(4).standard_normal(50_000)).astype(np.float32)
    with_zeros = np.concatenate([bulk, np.zeros(500_000, np.float32)])
    assert value_range.entropy(seen(with_zeros)) == value_range.entropy(seen(bulk))


@settings(max_examples=200)
@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_zero_is_exact_and_the_range_is_covered(a, b):
    covered = Range.around(min(a, b), max(a, b))
    scale, zero = affine(covered, 0, 255)
    assert 0 <= zero <= 255
    assert (0 - zero) * scale <= covered.low + 0.51 * scale
    assert (255 - zero) * scale >= covered.high - 0.51 * scale


@pytest.mark.parametrize("covered", [Range(0.0, 0.0), Range(-1e-45, 1e-45)])
def test_a_range_without_extent_has_scale_one(covered):
    assert affine(covered, 0, 255) == (1.0, 0)
    assert affine(covered, -128, 127) == (1.0, 0)
