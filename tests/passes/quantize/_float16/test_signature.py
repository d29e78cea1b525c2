from __future__ import annotations

import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._float16.signature import signature

HEAD = '<ir_version: 10, opset_import: ["" : 21, "other.domain" : 1]>'


def node(expression, inputs="float[4] x"):
    return next(from_text(f"{HEAD} g ({inputs}) => (float[4] y) {{ y = {expression} }}").nodes())


def test_an_operator_of_floats_admits_float16():
    found = signature(node("Relu (x)"), 21)
    assert found.input_variable(0) in found.admitting
    assert found.output_variable(0) in found.admitting


def test_the_last_variable_repeats():
    found = signature(node("Concat <axis = 0> (x, x, x)"), 21)
    assert {found.input_variable(i) for i in range(5)} == {"T"}


def test_whole_numbers_and_types_of_their_own_do_not_admit_it():
    found = signature(node('Resize <mode = "nearest"> (x, "", scales)', "float[4] x, float[1] scales"), 21)
    assert found.input_variable(0) in found.admitting
    assert found.input_variable(2) not in found.admitting  # scales are float32 by definition
    found = signature(node("Gather (x, i)", "float[4] x, int64[4] i"), 21)
    assert found.input_variable(0) in found.admitting
    assert found.input_variable(1) not in found.admitting


@pytest.mark.parametrize(
    "expression",
    [
        "other.domain.Relu (x)",
        "NoSuchOperator (x)",
        "If (c) <then_branch = t () => (float[4] a) {a = Relu (x)}, else_branch = e () => (float[4] b) {b = Neg (x)}>",
    ],
)
def test_others_are_unknown(expression):
    assert signature(node(expression, "float[4] x, bool c"), 21) is None
