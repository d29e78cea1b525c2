"""Cropped kernels and inputs, against convolutions that compute the same."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from onnx_compress.passes.prune._crops import Crop, crop, zero_borders


def convolved(x, kernel, pads, dilation, stride=1):
    """y[i] = Σ_t w[t] · x[stride·i + dilation·t − pad] along one axis."""
    padded = np.concatenate([np.zeros(pads[0]), x, np.zeros(pads[1])])
    reach = dilation * (len(kernel) - 1)
    return np.array([padded[i : i + reach + 1 : dilation] @ kernel for i in range(0, len(padded) - reach, stride)])


@pytest.mark.parametrize("slices", [False, True])
@pytest.mark.parametrize(("lead", "trail", "dilation"), list(product((0, 1, 2), (0, 1), (1, 2))))
def test_the_cropped_convolution_computes_the_same(lead, trail, dilation, slices):
    rng = np.random.default_rng(0)
    kernel = np.concatenate([np.zeros(lead), rng.standard_normal(2), np.zeros(trail)])
    x = rng.standard_normal(20)
    for front, back in product((0, 1, 3), (0, 2)):
        found = crop(((lead,), (trail,)), (front, back), (dilation,), slices=slices)
        narrow = kernel[found.lead[0] : len(kernel) - found.trail[0]]
        source = x[found.front[0] : len(x) - found.back[0]]
        expected = convolved(x, kernel, (front, back), dilation)
        np.testing.assert_allclose(convolved(source, narrow, found.pads, dilation), expected, atol=1e-12)
        assert found.slices <= slices
        assert found.is_empty == (len(narrow) == len(kernel))
        if slices:
            assert (found.lead, found.trail) == ((lead,), (trail,)), "everything that is zero is cut"


def test_without_slices_only_what_the_padding_covers_is_cut():
    assert crop(((2, 0), (1, 2)), (2, 1, 0, 1), (1, 1), slices=False) == Crop(
        (2, 0), (0, 1), (0, 1, 0, 0), (0, 0), (0, 0)
    )


def test_borders_are_zero_in_all_kernels():
    kernels = np.zeros((2, 3, 5, 4))
    kernels[0, 1, 1, 2] = 1
    kernels[1, 0, 3, 1] = 1
    assert zero_borders(kernels) == ((1, 1), (1, 1))
    kernels[1, 2, 0, 3] = 1
    assert zero_borders(kernels) == ((0, 1), (1, 0))
