from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_compress.compiler.storage.cells import Cells, coded


@pytest.mark.parametrize(
    ("cells", "shape", "fits"),
    [
        (Cells(), (3,), True),
        (Cells(2, 3, 0), (4, 3), True),
        (Cells(2, 3, 0), (5, 2), False),
        (Cells(1, 2, 1), (4, 3), True),
        (Cells(1, 2, 1), (4, 3, 1), False),
        (Cells(1, 1, 2), (4, 3), False),
        (Cells(0, 1, 0), (4, 3), False),
        (Cells(1, 1, 0), (0, 3), False),
    ],
)
def test_a_cut_fits_only_whole_vectors(cells, shape, fits):
    assert cells.fit(shape) == fits


@pytest.mark.parametrize(("axis", "vector"), [(0, [0, 1]), (1, [0, 3])])
def test_a_vector_holds_weights_of_one_output(axis, vector):
    values, cells = np.arange(12.0).reshape((4, 3) if axis else (6, 2)), Cells(1, 2, axis)
    assert cells.split(values)[0, 0].tolist() == vector
    assert np.array_equal(cells.join(cells.split(values), values.shape), values)


@given(
    seed=st.integers(0, 99), books=st.sampled_from((1, 2, 4)), dim=st.sampled_from((1, 2, 3)), axis=st.integers(0, 1)
)
def test_codebooks_and_indices_make_the_weight(seed, books, dim, axis):
    values = np.random.default_rng(seed).integers(-2, 3, (12, 12)).astype(np.float32)
    cells = Cells(books, dim, axis)
    table, places = coded(values, cells)
    assert table.shape[0] == books
    assert places.dtype == np.uint8
    vectors = np.take_along_axis(table, places[..., None].astype(int), axis=1)
    assert np.array_equal(cells.join(vectors, values.shape), values)
    for book, used in zip(table, places, strict=True):
        entries = book[: used.max() + 1]
        assert len(np.unique(entries, axis=0)) == len(entries)


def test_minus_zero_is_zero():
    table, places = coded(np.array([0.0, -0.0, 1, 0], np.float32), Cells(1, 2, 0))
    assert places[0].tolist() != [0, 0]
    assert not np.signbit(table).any()


def test_what_can_not_be_coded():
    many = np.arange(257, dtype=np.float32)
    assert coded(many, Cells()) is None
    assert coded(many[:256], Cells()) is not None
    assert coded(np.arange(4), Cells()) is None
    assert coded(many[:5], Cells(1, 2, 0)) is None
