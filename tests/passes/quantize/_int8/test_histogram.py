from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.passes.quantize._int8.histogram import Histogram

VALUES = (np.random.default_rng(0).standard_normal(5000) ** 3).astype(np.float32)


def observed(*batches, bins=64):
    histogram = Histogram(bins=bins)
    for batch in batches:
        histogram.observe(batch)
    return histogram


@pytest.mark.parametrize("cuts", [[1], [10, 11, 4000], [2500], list(range(100, 5000, 100))])
@pytest.mark.parametrize("order", ["given", "ascending", "descending"])
def test_the_counts_do_not_depend_on_the_batches(cuts, order):
    values = {"given": VALUES, "ascending": VALUES[np.argsort(abs(VALUES))], "descending": -np.sort(-abs(VALUES))}[
        order
    ]
    whole, parts = observed(values), observed(*np.split(values, cuts))
    np.testing.assert_array_equal(parts.counts, whole.counts)
    assert (parts.low, parts.high, parts.count, parts.limit) == (whole.low, whole.high, whole.count, whole.limit)


def test_counts_are_those_of_the_bins():
    found = observed(VALUES)
    edges = np.linspace(-found.limit, found.limit, 65)
    assert found.limit == 2.0 ** np.ceil(np.log2(abs(VALUES).max()))
    np.testing.assert_array_equal(found.counts, np.histogram(VALUES, edges)[0])
    np.testing.assert_allclose(found.centers, (edges[1:] + edges[:-1]) / 2)


def test_extremes_are_exact():
    found = observed(VALUES[:100], VALUES[100:])
    assert (found.low, found.high, found.count) == (VALUES.min(), VALUES.max(), 5000)


def test_what_is_not_finite_is_left_out():
    found = observed(np.float32([1, np.nan, -2, np.inf]), np.float32([np.nan]), np.float32([]))
    assert (found.low, found.high, found.count) == (-2, 1, 2)
    assert found.counts.sum() == 2


def test_without_bins_only_the_extremes_are_kept():
    found = observed(VALUES, bins=0)
    assert (found.low, found.high, found.count, found.counts.size) == (VALUES.min(), VALUES.max(), 5000, 0)


def test_zeros_alone_fill_the_middle():
    found = observed(np.zeros(7, np.float32))
    assert found.counts[32] == 7
