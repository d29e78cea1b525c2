"""Each coder alone: it decodes what it encoded, in no more bytes than theory allows."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders import adaptive, huffman
from onnx_compress.compiler.storage.container.coders.adaptive import Adaptive, Decoder, Encoder, Mixer, even_bits

MANY = 1 << 20


def entropy_bytes(counts: np.ndarray) -> float:
    used = counts[counts > 0]
    return float(used @ np.log2(used.sum() / used)) / 8


def drawn(count: int, alphabet: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice(alphabet, count, p=rng.dirichlet(np.full(alphabet, 0.3)))


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


def plain_huffman_cost(counts: np.ndarray) -> int:
    heap = [int(count) for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


@given(st.lists(st.integers(0, 50), min_size=2, max_size=60))
def test_code_lengths_are_optimal_where_the_limit_does_not_bind(counts):
    counts = np.array(counts)
    if np.count_nonzero(counts) < 2:
        return
    lengths = huffman.lengths_of(counts)
    assert huffman.is_complete(lengths)
    assert ((lengths > 0) == (counts > 0)).all()
    if lengths.max() < huffman.LONGEST:
        assert counts @ lengths == plain_huffman_cost(counts)


def test_code_lengths_keep_their_limit():
    counts = np.array([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597])  # would take 16 bits
    lengths = huffman.lengths_of(counts)
    assert lengths.max() == huffman.LONGEST
    assert huffman.is_complete(lengths)
    assert plain_huffman_cost(counts) < counts @ lengths < 1.01 * plain_huffman_cost(counts)


@pytest.mark.parametrize(("count", "alphabet"), [(2, 2), (1023, 16), (50_000, 16), (3000, 256), (2048, 3)])
def test_huffman_codes_come_back(count, alphabet):
    symbols = drawn(count, alphabet)
    symbols[:2] = 0, 1
    lengths = huffman.lengths_of(np.bincount(symbols, minlength=alphabet))
    data, sizes = huffman.encode(symbols, lengths)
    assert len(data) == sum(sizes)
    assert (huffman.decode(data, sizes, count, lengths) == symbols).all()
    lanes = huffman.lanes_of(count)
    assert len(data) <= np.bincount(symbols, minlength=alphabet) @ lengths / 8 + lanes


@settings(max_examples=50)
@given(st.binary(max_size=200), st.integers(1, 3000))
def test_huffman_decodes_any_bytes_to_something(data, count):
    lengths = huffman.lengths_of(np.array([5, 4, 3, 2, 1]))
    lanes = huffman.lanes_of(count)
    sizes = [len(data) // lanes] * lanes
    found = huffman.decode(data[: sum(sizes)], sizes, count, lengths)
    assert len(found) == count
    assert found.max() < 5
