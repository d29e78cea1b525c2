from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from onnx_compress.compiler.storage import weight as module
from onnx_compress.compiler.storage.structure import positive_zero
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.storage.weights import same, weights


@given(values=weights())
def test_codebook_and_symbols_make_the_values(values):
    weight = WeightValues(values)
    found = {bits.tobytes() for bits in weight.flat}
    if weight.codebook is None:
        assert len(found) > 256
        return
    assert len(weight.codebook) == len(found)
    assert same(weight.codebook[weight.symbols].reshape(values.shape), positive_zero(values))


@given(values=weights())
def test_zero_is_the_first_entry_of_the_other_codebook(values):
    weight = WeightValues(values)
    if weight.with_zero is None:
        assert weight.codebook is None or len(weight.codebook) == 256
        return
    codebook, symbols = weight.with_zero
    made = np.zeros(values.size, values.dtype)
    made[weight.positions] = codebook[symbols]
    assert codebook[0] == 0
    assert same(made.reshape(values.shape), positive_zero(values))


@pytest.mark.parametrize("far", [1, 1 << 22])
def test_distances_lead_from_one_non_zero_to_the_next(far, monkeypatch):
    monkeypatch.setattr(module, "FAR", far)
    values = np.zeros(40)
    values[[3, 4, 7, 8, 39]] = 1
    distances, times = WeightValues(values).distances
    assert dict(zip(distances.tolist(), times.tolist(), strict=True)) == {3: 2, 1: 2, 31: 1}
    assert WeightValues(np.zeros(4)).distances[0].size == 0


def test_values_that_the_sample_misses_are_found():
    values = np.zeros(1 << 18, np.float32)
    values[2], values[-3] = 5, -7
    weight = WeightValues(values)
    assert set(weight.codebook.tolist()) == {0, 5, -7}
    assert same(weight.codebook[weight.symbols], values)


def test_more_than_256_values_have_no_codebook():
    assert WeightValues(np.arange(256, dtype=np.float32)).codebook is not None
    assert WeightValues(np.arange(257, dtype=np.float32)).codebook is None
    assert WeightValues(np.arange(1, 257, dtype=np.float32)).with_zero is None
    late = np.zeros(1 << 18, np.float32)
    late[1:601:2] = np.arange(300)
    assert WeightValues(late).codebook is None
