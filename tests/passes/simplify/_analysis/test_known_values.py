from __future__ import annotations

import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._analysis.known_values import Known, known_values

HEAD = '<ir_version: 10, opset_import: ["" : 17]>'
WEIGHTS = "<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[2] many = {3, 4}, int64 i = {1}>"


def last(nodes: str) -> Known | None:
    model = from_text(f"{HEAD} g (float[N,8,6] x) => (int64[M] y) {WEIGHTS} {{ s = Shape (x) {nodes} }}")
    return known_values(model, Facts(model)).get(model.graph.nodes[-1].outputs[0])


@pytest.mark.parametrize(
    ("nodes", "values"),
    [
        ("y = Identity (s)", ("N", 8, 6)),
        ("y = Shape <start=1> (x)", (8, 6)),
        ("y = Gather (s, two)", (6,)),
        ("y = Slice (s, zero, two)", ("N", 8)),
        ("y = Concat <axis=0> (s, many)", ("N", 8, 6, 3, 4)),
        ("a = Gather (s, i) y = Unsqueeze (a, zero)", (8,)),
        ("a = Gather (s, one) y = Mul (a, two)", (16,)),
        ("a = Gather (s, one) y = Add (a, two)", (10,)),
        ("y = Cast <to=7> (s)", ("N", 8, 6)),
    ],
)
def test_elements_are_numbers_or_names(nodes, values):
    assert last(nodes).values == values


def test_a_scalar_is_told_from_a_vector():
    assert last("y = Gather (s, i)") == Known((8,), is_scalar=True)
    assert last("y = Gather (s, one)") == Known((8,))
    assert last("a = Gather (s, one) y = Squeeze (a)") == Known((8,), is_scalar=True)
    assert last("y = Size (many)") == Known((2,), is_scalar=True)
    assert last("y = Size (x)") is None, "the batch is free"


def test_arrays_have_the_type_and_rank():
    assert Known((3,), is_scalar=True).array(7).shape == ()
    assert Known((3, 4)).array(6).dtype == "int32"
    assert Known((3, 4)).is_static
    assert not Known(("N", 4)).is_static


@pytest.mark.parametrize("nodes", ["y = Gather (s, many)", "f = Cast <to=1> (s) e = Exp (f) y = Cast <to=7> (e)"])
def test_what_is_not_certain_is_unknown(nodes):
    assert last(nodes) is None


def test_long_vectors_are_data():
    joined = "y = Concat <axis=0> (" + ", ".join(["s"] * 22) + ")"
    assert last(joined) is None
    assert len(last(joined.replace(", s)", ")")).values) == 63
