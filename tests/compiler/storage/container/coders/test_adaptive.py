"""Adaptive models: they decode what they encoded, in hardly more bits than theory allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders import adaptive
from onnx_compress.compiler.storage.container.coders.adaptive import Adaptive, Decoder, Encoder, Mixer, even_bits

MANY = 1 << 20


def entropy_bytes(counts: np.ndarray) -> float:
    used = counts[counts > 0]
    return float(used @ np.log2(used.sum() / used)) / 8


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4095)), max_size=200))
def test_bits_with_any_chances_come_back(coded):
    encoder = Encoder()
    for bit, chance in coded:
        encoder.bit(chance, bit)
    decoder = Decoder(encoder.getvalue(), len(coded))
    assert [decoder.bit(chance, 0) for _, chance in coded] == [bit for bit, _ in coded]
    assert len(encoder.getvalue()) <= encoder.cost() + 8


@given(st.lists(st.integers(0, 1 << 40)), st.integers(0, 63), st.integers(0, 127))
def test_numbers_of_any_size_come_back(numbers, symbol, tree):
    def run(coder, given):
        model = Adaptive()
        found = [model.number(coder, "n", value) for value in given]
        return found, model.symbol(coder, "s", symbol, 64), model.tree(coder, "t", tree, 7), even_bits(coder, 5, 3)

    encoder = Encoder()
    run(encoder, numbers)
    decoder = Decoder(encoder.getvalue(), MANY)
    assert run(decoder, [0] * len(numbers))[0] == numbers


def test_a_decoder_stops_at_its_limit():
    decoder = Decoder(b"", 10)
    for _ in range(10):
        decoder.bit(2048, 0)
    with pytest.raises(ModelError, match="more than its bytes can hold"):
        decoder.bit(2048, 0)


def test_squash_and_stretch_are_inverse_and_rise():
    assert (np.diff(adaptive._SQUASH) >= 0).all()
    assert (np.diff(adaptive._STRETCH) >= 0).all()
    for chance in range(1, adaptive.SCALE - 1):
        assert (
            abs(adaptive._SQUASH[adaptive._STRETCH[chance] + 2047] - chance) <= 1 + chance * (4096 - chance) / 4096 / 64
        )


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_a_mixer_learns_the_share_of_ones(share):
    rng = np.random.default_rng(0)
    bits, mixer, encoder = (rng.random(20000) < share).astype(int), Mixer(0.3, 0.3, 0.3, 0.2, 0.2), Encoder()
    for place, bit in enumerate(bits.tolist()):
        mixer.bit(encoder.bit, bit, 0, 1 | place % 5 << 3, 2 | place % 7 << 3, 3, 4)
    assert encoder.cost() < 1.05 * entropy_bytes(np.bincount(bits)) + 20


def test_a_mixer_finds_the_context_that_matters():
    rng = np.random.default_rng(0)
    hints = rng.integers(0, 2, 20000)
    bits = hints ^ (rng.random(20000) < 0.05)
    mixer, encoder = Mixer(0.3, 0.3, 0.3, 0.2, 0.2), Encoder()
    for place, (hint, bit) in enumerate(zip(hints.tolist(), bits.tolist())):
        mixer.bit(encoder.bit, bit, 0, 1 | place % 50 << 3, 2 | hint << 3, 3, 4)
    assert encoder.cost() < 1.1 * entropy_bytes(np.array([19000, 1000]))
