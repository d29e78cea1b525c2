"""The readers of a weight, through all operators that only pass it on."""

from __future__ import annotations

import pytest

from onnx_compress.compiler.analysis.weight_readers import find_weights, is_read_by, readers_of
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import Model
from tests.compiler.ir.graphs import load, node

SHARED = """g (float[N,4] x, bool flag) => (float[N,4] y) <float[4,4] w, int64[2] shape = {4,4}>
{
  ["copy"] a = Identity (w)
  ["turn"] b = Transpose <perm = [1,0]> (a)
  ["form"] c = Reshape (b, shape)
  ["first"] d = MatMul (x, a)
  ["choose"] e = If (flag) <
    then_branch = yes () => (float[N,4] t) { ["in"] t = MatMul (d, c) },
    else_branch = no () => (float[N,4] o) { ["out"] o = Neg (d) }
  >
  ["computed"] f = Reshape (e, shape)
  ["last"] y = Add (f, w)
}"""
STORED = """g (float[N,4] x) => (float[N,4] y)
{ ["held"] k = Constant <value = float[4,4] {}> () ["copy"] a = Identity (k)
  ["first"] b = MatMul (x, a) ["second"] y = MatMul (b, k) }"""


def weight(model: Model) -> Constant:
    return next(constant for constant in model.constants() if constant.name == "w")


def called(model: Model, name: str, slot: int) -> list[tuple[str, int]]:
    return [(reader.name, at) for reader, at in readers_of(node(model, name).inputs[slot])]


def test_readers_are_found_through_operators_over_constants():
    model = load(SHARED)
    expected = [("last", 1), ("first", 1), ("in", 1)]
    assert [(reader.name, at) for reader, at in readers_of(weight(model))] == expected
    assert called(model, "first", 1) == expected, "from behind an Identity the weight is the same"
    assert ("computed", 1) in called(model, "form", 1), "what is computed is no weight"


def test_the_value_of_a_constant_node_is_also_a_weight():
    assert called(load(STORED), "first", 1) == [("second", 1), ("first", 1)]


@pytest.mark.parametrize(("name", "expected"), [("in", True), ("turn", True), ("out", False), ("choose", False)])
def test_readers_and_the_nodes_in_between_count_for_exclusion(name, expected):
    assert is_read_by(weight(load(SHARED)), lambda found: found.name == name) is expected


def test_a_matrix_with_another_reader_is_not_only_for_matmul():
    def matmul_only(text: str) -> list[bool]:
        return [found.is_matmul for found in find_weights(load(text), lambda _: False, lambda *_: None)]

    assert matmul_only(STORED) == [True]
    assert matmul_only(SHARED) == [False], "it is transposed in one place and added in another"
