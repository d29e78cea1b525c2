"""Partly known operands, against the operator's results for every value of the unknown ones."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.pointwise import Operand, computed, vector_of

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


def operand(values):
    """NaN stands for an unknown entry."""
    array = np.array(values, np.float32)
    return Operand(np.asarray(np.nan_to_num(array)), np.asarray(np.isnan(array)))


def node_of(expression, inputs="float[3] x"):
    model = from_text(f"{HEAD} g ({inputs}) => (float[3] y) {{ y = {expression} }}")
    return model, next(model.nodes())


NAN = float("nan")


@pytest.mark.parametrize(
    ("expression", "inputs", "operands", "expected"),
    [
        ("Relu (x)", "float[3] x", [[-1, 2, NAN]], [0, 2, NAN]),
        ("Add (x, z)", "float[3] x, float[3] z", [[1, NAN, 3], [1, 1, NAN]], [2, NAN, NAN]),
        ("Mul (x, z)", "float[3] x, float[3] z", [[0, 2, NAN], [NAN, NAN, 0]], [0, NAN, 0]),
        ("Mul (x, z)", "float[3] x, float z", [[1, 2, NAN], 3], [3, 6, NAN]),
        ("Sub (x, z)", "float[3] x, float z", [[1, 2, 3], NAN], [NAN, NAN, NAN]),
        ("Clip (x, z)", "float[3] x, float z", [[-3, 0, NAN], 1], [1, 1, NAN]),
    ],
)
def test_what_is_known_of_the_result(expression, inputs, operands, expected):
    model, node = node_of(expression, inputs)
    found = computed(model, node, [operand(values) for values in operands], 3)
    np.testing.assert_array_equal(found, np.array(expected, float))


def test_an_absent_input_is_left_out():
    model, node = node_of('Clip (x, "", z)', "float[3] x, float z")
    found = computed(model, node, [operand([5, -1, NAN]), None, operand(2)], 3)
    np.testing.assert_array_equal(found, [2, -1, NAN])


def test_what_onnxruntime_can_not_compute_is_unknown():
    model, node = node_of('BitShift <direction = "LEFT"> (x, x)')
    assert np.isnan(computed(model, node, [operand([1, 2, 3])] * 2, 3)).all()


@pytest.mark.parametrize(
    ("values", "axis", "known"),
    [
        ([[1, 1, 1], [2, 2, 2]], 0, [1, 2]),
        ([[1, 1, 1], [2, 3, 2]], 0, [1, NAN]),
        ([[1, 1, 1], [2, 3, 3]], 0, [1, NAN]),
        ([[1, 2, 3], [1, 2, 4]], 1, [1, 2, NAN]),
        ([[4, 4, 4]], 0, 4),  # broadcast along the axis
        ([[4, 4, 5]], 0, NAN),
        ([7, 7], -1, 7),  # without the axis at all
    ],
)
def test_the_common_value_of_each_index(values, axis, known):
    found = vector_of(np.array(values, np.float32), axis)
    np.testing.assert_array_equal(found.masked(), np.array(known, float))


def test_an_empty_constant_has_no_value():
    assert vector_of(np.zeros((3, 0), np.float32), 0).is_unknown.tolist() == [True] * 3
    assert Operand.unknown().is_unknown
