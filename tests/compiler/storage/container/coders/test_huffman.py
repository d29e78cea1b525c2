from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders import huffman


def drawn(count: int, alphabet: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice(alphabet, count, p=rng.dirichlet(np.full(alphabet, 0.3)))


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


@given(st.lists(st.integers(0, 50), min_size=2, max_size=60))
def test_the_bound_is_that_of_a_code_without_limit(counts):
    assert huffman.least_bits(np.array(counts)) == plain_huffman_cost(np.array(counts))


def test_lanes_of_another_number_are_refused():
    symbols = drawn(5000, 4)
    lengths = huffman.lengths_of(np.bincount(symbols, minlength=4))
    data, sizes = huffman.encode(symbols, lengths)
    with pytest.raises(ModelError, match="wrong number of lanes"):
        huffman.decode(data, [*sizes, 0, 0], 5000, lengths)
