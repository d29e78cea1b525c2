from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_compress.compiler.storage.container.coders.adaptive import Decoder, Encoder
from onnx_compress.compiler.storage.container.coders.notes import Notes
from onnx_compress.compiler.storage.container.coders.number_sets import ElementKind, code_scalars, code_table, ordered

KINDS = [ElementKind(size, is_float) for size, is_float in ((1, False), (2, True), (4, True), (4, False), (8, True))]


def through(code, kind: ElementKind, words: np.ndarray) -> tuple[np.ndarray, int]:
    """The words after coding and decoding, and the bytes that they took."""
    encoder = Encoder()
    code(Notes(encoder), kind, words, len(words))
    raw = encoder.getvalue()
    return code(Notes(Decoder(raw, 1 << 16)), kind, None, len(words)), len(raw)


def drawn(kind: ElementKind, seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << 8 * kind.itemsize, count, dtype=kind.dtype)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(seed=st.integers(0, 99), count=st.integers(1, 30))
def test_tables_come_back(kind, seed, count):
    table = ordered(np.unique(drawn(kind, seed, count)), kind)
    assert (through(code_table, kind, table)[0] == table).all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(seed=st.integers(0, 99), count=st.integers(1, 30))
def test_scalars_come_back(kind, seed, count):
    words = drawn(kind, seed, count)
    assert (through(code_scalars, kind, words)[0] == words).all()


def test_floats_are_ordered_by_value():
    values = np.array([3, -1, 0, -2.5, 1e-30], np.float32)
    assert (ordered(values.view("<u4"), ElementKind(4, True)).view(np.float32) == np.sort(values)).all()
    words = np.array([-0.0, 1, 0], np.float32).view("<u4")
    assert ordered(words, ElementKind(4, True)).tolist() == sorted(words.tolist()), (
        "as integers where -0.0 is among them"
    )


def test_low_bits_that_are_zero_in_all_words_cost_nothing():
    kind, words = ElementKind(4, True), drawn(ElementKind(4, True), 0, 40) & np.uint32(0x7F7FFFFF)
    short = ordered(words & np.uint32(0xFFFF0000), kind)
    assert through(code_table, kind, short)[1] < through(code_table, kind, ordered(words, kind))[1] - 2 * 40 + 8
    assert through(code_scalars, kind, short)[1] < through(code_scalars, kind, words)[1] - 2 * 40 + 8


def test_similar_floats_take_little_more_than_their_mantissas():
    words = np.random.default_rng(0).uniform(1, 2, 400).astype(np.float32).view("<u4")
    assert through(code_scalars, ElementKind(4, True), words)[1] < 400 * 25 / 8
