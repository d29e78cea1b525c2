"""Which inputs are weights, along which axes their outputs lie, and who reads them through what passes them on."""

from __future__ import annotations

import pytest

from onnx_compress.compiler.analysis.weight_readers import find_weights, is_read_by, readers_of
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from tests.compiler.ir.graphs import HEAD, load, node

DOMAINS = HEAD.replace("]", ', "com.microsoft" : 1]')
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
    assert ("computed", 1) in called(model, "form", 1), "a computed value is not a weight"


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


def weights(body):
    """Name, kept axes and readers' slots of each weight."""
    found = find_weights(from_text(DOMAINS + body), lambda node: False, lambda node, why: None)
    return [(weight.constant.name, weight.kept, [slot for _, slot in weight.readers]) for weight in found]


@pytest.mark.parametrize(
    ("node", "shape", "slot", "kept"),
    [
        ("Gemm (x, w)", (6, 9), 1, 1),
        ("Gemm <transB = 1> (x, w)", (9, 6), 1, 0),
        ("Gemm (w, x)", (9, 6), 0, 0),
        ("Gemm <transA = 1> (w, x)", (6, 9), 0, 1),
        ("MatMul (x, w)", (6, 9), 1, 1),
        ("MatMul (w, x)", (9, 6), 0, 0),
    ],
)
def test_a_matrix_keeps_the_axis_of_its_outputs(node, shape, slot, kept):
    rows, columns = shape
    body = f"g (float[6,6] x) => (float y) <float[{rows},{columns}] w> {{ y = {node} }}"
    assert weights(body) == [("w", (kept,), [slot])]
    assert shape[kept] == 9  # the outputs


@pytest.mark.parametrize(
    ("node", "shape", "kept"),
    [
        ("Conv (x, w)", "4,3,2,2", (0,)),
        ("ConvTranspose (x, w)", "3,4,2,2", (1,)),
        ("DeformConv (x, w, o)", "4,3,2,2", (0,)),
    ],
)
def test_a_kernel_keeps_the_axis_of_its_outputs(node, shape, kept):
    body = f"g (float[N,3,6,6] x, float[N,8,5,5] o) => (float y) <float[{shape}] w> {{ y = {node} }}"
    assert weights(body) == [("w", kept, [1])]


def test_biases_normalizations_and_other_domains_have_none():
    body = """g (float[N,6] x) => (float[N,6] y) <float[6,6] w, float[1,6] b, float[6] s>
    { a = com.microsoft.FusedMatMul (x, w) c = LayerNormalization (a, s) d = Mul (c, b) y = Add (d, b) }"""
    assert weights(body) == []
