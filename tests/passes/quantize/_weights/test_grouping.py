"""The layout of integers and scales."""

import numpy as np
import pytest

from onnx_compress.passes.quantize._weights.grouping import blocked, nibble_table, pack_nibbles, per_channel


def weights(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "kept", "scales"),
    [
        ((16, 8, 3, 3), (0,), (16, 1, 1, 1)),
        ((8, 16, 3), (1,), (1, 16, 1)),
        ((2, 64, 32), (0, 1), (2, 64, 1)),
        ((64, 32), (1,), (1, 32)),
        ((3, 64, 32), (0, 2), (3, 1, 32)),
    ],
)
def test_a_scale_per_channel(shape, kept, scales):
    values = weights(*shape)
    stored = per_channel(values, kept, 8)
    assert stored.integers.shape == shape
    assert stored.scales.shape == scales
    assert np.abs(stored.values - values).max() < 0.02


@pytest.mark.parametrize(
    ("shape", "kept", "layout"),
    [((64, 24), (1,), (2, 32, 24)), ((24, 64), (0,), (24, 2, 32)), ((4, 8, 2, 2), (0,), (4, 1, 32))],
)
def test_a_scale_per_block(shape, kept, layout):
    values = weights(*shape)
    stored = blocked(values, kept, 8, 32)
    assert stored.integers.shape == layout
    assert stored.values.shape == shape
    assert np.abs(stored.values - values).max() < 0.02


def test_blocks_lose_less_than_channels_in_four_bits():
    values = weights(128, 64) * np.repeat(np.logspace(-2, 0, 4), 32)[:, None].astype(np.float32)
    in_blocks = np.square(blocked(values, (1,), 4, 32).values - values).sum()
    per_column = np.square(per_channel(values, (1,), 4).values - values).sum()
    assert in_blocks < 0.5 * per_column


def test_blocks_that_do_not_divide_a_channel_are_refused():
    assert blocked(weights(60, 8), (1,), 4, 32) is None
    assert blocked(weights(8, 60), (0,), 4, 32) is None


def test_the_table_reverses_packing():
    integers = np.random.default_rng(0).integers(-8, 8, (6, 10)).astype(np.int8)
    assert np.array_equal(nibble_table()[pack_nibbles(integers)].reshape(6, 10), integers)
