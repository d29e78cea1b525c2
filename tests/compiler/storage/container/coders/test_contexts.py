from __future__ import annotations

import numpy as np

from onnx_compress.compiler.storage.container.coders import contexts
from onnx_compress.compiler.storage.container.coders.adaptive import Decoder, Encoder
from onnx_compress.compiler.storage.container.coders.contexts import CLASSES, Contexts
from onnx_compress.compiler.storage.container.coders.notes import Notes
from onnx_compress.compiler.storage.container.coders.small_weights import Grid

MIDDLE = CLASSES // 2


def test_a_context_is_the_sum_of_the_classes_of_its_indices():
    rows, columns = np.array([MIDDLE, MIDDLE + 2]), np.array([MIDDLE - 1, MIDDLE, CLASSES - 1])
    found = Contexts(Grid(2, 3, 1), (rows, columns, None)).of_all().reshape(2, 3)
    assert found.tolist() == [[MIDDLE - 1, MIDDLE, CLASSES - 1], [MIDDLE + 1, MIDDLE + 2, CLASSES - 1]]
    assert Contexts(Grid(2, 3, 1)).is_plain
    assert set(Contexts(Grid(2, 3, 1)).of_all().tolist()) == {MIDDLE}


def test_a_row_with_twice_the_information_is_two_classes_up():
    carried = np.ones((2, 64))
    carried[1] = 2
    _, rows, *_ = contexts.candidates(Grid(2, 64, 1), carried.ravel(), None)
    assert rows.classes[0] is not None
    assert np.diff(rows.classes[0]).tolist() == [2]


def test_classes_of_a_sparse_weight_are_of_its_non_zeros():
    mask = np.zeros((4, 200), bool)
    mask[:, ::2] = True
    mask[3, 50:] = False
    carried = np.where(np.arange(4)[:, None] == 3, 4.0, 1.0) * np.ones((4, 200))
    _, rows, *_ = contexts.candidates(Grid(4, 200, 1), carried[mask], mask.ravel())
    assert rows.classes[0].tolist()[:3] == [rows.classes[0][0]] * 3
    assert rows.classes[0][3] - rows.classes[0][0] == 4


def test_short_streams_have_no_classes():
    assert [one.is_plain for one in contexts.candidates(Grid(8, 8, 1), np.ones(64), None)] == [True]


def test_classes_come_back():
    given = Contexts(Grid(3, 40, 1), (np.array([0, 4, 8]), None, None))
    encoder = Encoder()
    contexts.code(Notes(encoder), given, 120, reading=False)
    back = contexts.code(Notes(Decoder(encoder.getvalue(), 1 << 12)), Contexts(given.grid), 120, reading=True)
    assert back.classes[0].tolist() == [0, 4, 8]
    assert back.classes[1:] == (None, None)
    assert contexts.cost(given) == 2 * 3
