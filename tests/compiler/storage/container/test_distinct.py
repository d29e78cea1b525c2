from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.storage.container.distinct import MOST, distinct


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
@pytest.mark.parametrize("count", [1, 7, 200_000])
def test_words_are_ranked_as_by_unique(dtype, count):
    rng = np.random.default_rng(0)
    words = rng.choice(rng.integers(0, 1 << 62, 100).astype(dtype), count)
    found = distinct(words)
    table, ranks = np.unique(words, return_inverse=True)
    assert found is not None
    assert (found.table == table).all()
    assert (found.ranks == ranks).all()


def test_words_that_the_sample_misses_are_found():
    words = np.zeros(1 << 18, np.uint32)
    words[1:6] = 5, 9, 4, 9, 1
    found = distinct(words)
    assert found is not None
    assert found.table.tolist() == [0, 1, 4, 5, 9]
    assert (found.table[found.ranks] == words).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_one_word_too_many(dtype):
    words = np.arange(1, MOST + 1, dtype=dtype)
    assert distinct(words) is not None
    assert distinct(np.append(words, dtype(0))) is not None, "zero does not count"
    assert distinct(np.append(words, dtype(MOST + 1))) is None
    assert distinct(np.repeat(np.append(words, dtype(MOST + 1)), 1000)) is None


@pytest.mark.parametrize("words", [[5, 0, 7, 5], [5, 7, 7, 5]])
def test_zero_is_taken_out(words):
    words = np.array(words, np.uint32)
    found = distinct(words).without_zero(words != 0)
    assert found.table.tolist() == [5, 7]
    assert (found.table[found.ranks] == words[words != 0]).all()
