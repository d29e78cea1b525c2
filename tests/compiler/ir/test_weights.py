"""Reading weights wherever a framework put them."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import weights
from onnx_compress.compiler.ir.text import from_text

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def reader(body: str, declared: str = "float[2] w = {1,2}"):
    model = from_text(f"{HEAD} g (float[2] x) => (float[2] y) <{declared}> {{ {body} }}")
    return model, model.graph.nodes[-1]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Add (x, w)", [1, 2]),
        ("v = Identity (w) y = Add (x, v)", [1, 2]),
        ("u = Identity (w) v = Identity (u) y = Add (x, v)", [1, 2]),
        ("v = Constant <value = float[2] {3,4}> () y = Add (x, v)", [3, 4]),
        ("u = Constant <value = float[2] {3,4}> () v = Identity (u) y = Add (x, v)", [3, 4]),
        ("v = Constant <value_floats = [5.0, 6.0]> () y = Add (x, v)", [5, 6]),
        ("v = Constant <value_float = 7.0> () y = Add (x, v)", 7),
        ("v = Constant <value_ints = [8, 9]> () y = Add (x, v)", [8, 9]),
        ("v = Constant <value_int = 10> () y = Add (x, v)", 10),
        ("v = Constant <value_ints: ints = []> () y = Add (x, v)", []),
        ('v = Constant <value_string = "s"> () y = Add (x, v)', "s"),
        ('v = Constant <value_strings = ["s", "t"]> () y = Add (x, v)', ["s", "t"]),
    ],
)
def test_a_constant_is_seen(body, expected):
    _, node = reader(body)
    assert weights.input_value(node, 1).tolist() == expected


@pytest.mark.parametrize(
    "body",
    [
        "v = Neg (w) y = Add (x, v)",
        "v = my.domain.Identity (w) y = Add (x, v)",
        "v = Identity (x) y = Add (w, v)",
        "y = Clip (x, , w)",
        "y = Add (x)",
    ],
)
def test_a_computed_omitted_or_foreign_input_is_none(body):
    _, node = reader(body)
    assert weights.input_constant(node, 1) is None
    assert weights.input_value(node, 1) is None


def test_a_weight_around_a_body_is_seen_from_inside():
    model, _ = reader(
        "c = Constant <value_int = 1> () f = Cast <to = 9> (c) "
        "y = If (f) <then_branch = t () => (float[2] a) { a = Add (x, w) }, "
        "else_branch = e () => (float[2] b) { b = Sub (x, w) }>"
    )
    inner = [node for node in model.nodes() if node.op in ("Add", "Sub")]
    assert [weights.input_value(node, 1).tolist() for node in inner] == [[1, 2], [1, 2]]


def test_types_of_constant_nodes():
    _, node = reader("v = Constant <value_floats = [5.0]> () w2 = Constant <value_ints = [5]> () y = Add (v, w2)")
    assert [weights.input_value(node, slot).dtype for slot in (0, 1)] == [np.float32, np.int64]


def test_reading_changes_nothing():
    model, node = reader("v = Constant <value = float[2] {3,4}> () y = Add (x, v)")
    before = model.proto()
    constant = weights.input_constant(node, 1)
    assert (constant.name, constant.origin.name) == ("v", "v")
    assert model.proto() == before
    assert model.version == 0


def test_the_array_is_read_only():
    _, node = reader("y = Add (x, w)")
    with pytest.raises(ValueError, match="read-only"):
        weights.input_value(node, 1)[0] = 5
