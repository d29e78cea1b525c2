from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders import frequencies
from onnx_compress.compiler.storage.container.coders.adaptive import Decoder, Encoder
from onnx_compress.compiler.storage.container.coders.notes import Notes

tables = st.lists(st.integers(0, 5000), min_size=1, max_size=60).filter(any)


@given(tables)
def test_rounded_frequencies_add_up_and_keep_every_symbol(counts):
    counts = np.array(counts)
    parts = frequencies.rounded(counts)
    assert parts.sum() == 1 << frequencies.total_bits(int(counts.sum()))
    assert ((parts > 0) == (counts > 0)).all()


@given(tables)
def test_frequencies_come_back(counts):
    counts = np.array(counts)
    parts, total = frequencies.rounded(counts), int(counts.sum())
    encoder = Encoder()
    frequencies.code(Notes(encoder), parts, len(parts), total)
    back = frequencies.code(Notes(Decoder(encoder.getvalue(), 1 << 14)), None, len(parts), total)
    assert (back == parts).all()


def test_rounding_costs_almost_nothing():
    counts = np.random.default_rng(0).integers(1, 4000, 200)
    parts = frequencies.rounded(counts)
    ideal = counts @ np.log2(counts.sum() / counts)
    assert counts @ np.log2(parts.sum() / parts) < 1.002 * ideal


def test_few_digits_make_the_table_smaller():
    counts = np.random.default_rng(0).integers(500, 4000, 20)

    def size(parts: np.ndarray) -> int:
        encoder = Encoder()
        frequencies.code(Notes(encoder), parts, len(parts), int(counts.sum()))
        return len(encoder.getvalue())

    assert size(frequencies.rounded(counts)) < 0.75 * size(frequencies._exact(counts))


def test_a_table_that_does_not_add_up_is_refused():
    encoder = Encoder()
    frequencies.code(Notes(encoder), np.array([1 << 13, 1 << 13]), 2, 1 << 14)
    with pytest.raises(ModelError, match="do not add up"):
        frequencies.code(Notes(Decoder(encoder.getvalue(), 1 << 12)), None, 2, 1)


def test_a_span_beyond_the_alphabet_is_refused():
    encoder = Encoder()
    assert frequencies.span(Notes(encoder), np.array([0, 0, 5, 0, 7])) == (2, 5)
    with pytest.raises(ModelError, match="longer than its alphabet"):
        frequencies.span(Notes(Decoder(encoder.getvalue(), 1 << 12)), np.zeros(4, np.int64))
