from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_compress.compiler.storage.container.coders.adaptive import Adaptive, Decoder, Encoder
from onnx_compress.compiler.storage.container.coders.small_weights import (
    Grid,
    Liveness,
    MaskField,
    code_levels,
    code_mask,
    code_symbols,
    period_of,
)


def entropy(values: np.ndarray) -> float:
    """Bytes of an ideal code that codes each value by itself."""
    counts = np.unique(values, return_counts=True)[1]
    return float(counts @ np.log2(counts.sum() / counts)) / 8


@pytest.mark.parametrize(
    ("shape", "grid"), [((), (1, 1, 1)), ((5,), (1, 5, 1)), ((3, 4), (3, 4, 1)), ((3, 4, 2, 5), (3, 4, 10))]
)
def test_a_grid_is_rows_columns_and_taps(shape, grid):
    assert Grid.of(shape).shape == grid
    assert Grid.of(shape).size == np.prod(grid)


def test_live_columns_are_predicted_by_live_rows():
    live = (np.random.default_rng(0).random(400) < 0.5).astype(int)
    encoder, sizes = Encoder(), []
    known = Liveness()
    for bits in (live, live, live.repeat(3), 1 - live):
        known.code(encoder, bits.tolist(), keep=True)
        sizes.append(encoder.cost())
    first, same, flattened, _ = np.diff([0, *sizes])
    assert first > 45
    assert max(same, flattened) < 0.5 * first
    decoder, read = Decoder(encoder.getvalue(), 1 << 14), Liveness()
    for bits in (live, live, live.repeat(3), 1 - live):
        assert read.code(decoder, len(bits), keep=True) == bits.tolist()


def test_bits_that_are_not_kept_predict_nothing():
    live = (np.random.default_rng(0).random(400) < 0.5).astype(int).tolist()
    encoder, known = Encoder(), Liveness()
    known.code(encoder, live, keep=False)
    once = encoder.cost()
    known.code(encoder, live, keep=False)
    assert encoder.cost() > 1.9 * once


@given(seed=st.integers(0, 99), period=st.sampled_from((0, 5)))
def test_masks_come_back(seed, period):
    rng = np.random.default_rng(seed)
    mask = rng.random((6, 20)) < 0.4
    mask[:, 3] = mask[2] = False
    where = MaskField(6, 20, np.flatnonzero(mask.any(1)).tolist(), np.flatnonzero(mask.any(0)).tolist(), period)
    encoder = Encoder()
    code_mask(encoder, where, mask)
    assert (code_mask(Decoder(encoder.getvalue(), 1 << 12), where, None) == mask).all()
    turned = Encoder()
    code_mask(turned, where.transposed, mask.T)
    assert (code_mask(Decoder(turned.getvalue(), 1 << 12), where.transposed, None) == mask.T).all()


def test_a_period_makes_a_mask_of_repeated_rows_small():
    mask = np.tile(np.random.default_rng(0).random((40, 12)) < 0.5, (1, 8))
    assert period_of(mask) == 12
    assert period_of(np.zeros((0, 50), bool)) == 0

    def size(period: int) -> float:
        encoder = Encoder()
        code_mask(encoder, MaskField(40, 96, list(range(40)), list(range(96)), period), mask)
        return encoder.cost()

    assert size(12) < 0.6 * size(0)


@given(seed=st.integers(0, 99), count=st.sampled_from((1, 2, 7, 200)), period=st.sampled_from((0, 5)))
def test_symbols_come_back(seed, count, period):
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(rng.random((6, 20)) < 0.4)
    symbols = rng.integers(0, count, len(rows))
    encoder = Encoder()
    code_symbols(encoder, rows, columns, count, period, symbols)
    read = Decoder(encoder.getvalue(), 1 << 14)
    assert (code_symbols(read, rows, columns, count, period, None) == symbols).all()


def test_symbols_that_depend_on_the_column_take_less():
    rng = np.random.default_rng(0)
    rows, columns = (axis.ravel() for axis in np.indices((60, 30)))
    symbols = (rng.integers(0, 8, 30)[columns] + (rng.random(1800) < 0.1)) % 8
    encoder = Encoder()
    code_symbols(encoder, rows, columns, 8, 0, symbols)
    assert encoder.cost() < 0.5 * entropy(symbols)


def test_levels_come_back_and_runs_are_cheap():
    values = np.repeat([3, 15, 0, 7], 100).tolist()
    encoder = Encoder()
    code_levels(encoder, Adaptive(), "x", values)
    assert encoder.cost() < 40
    assert code_levels(Decoder(encoder.getvalue(), 1 << 14), Adaptive(), "x", len(values)) == values
