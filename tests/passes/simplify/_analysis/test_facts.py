"""Certain facts about values follow from inputs and weights, not from declarations."""

from __future__ import annotations

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.simplify._analysis.facts import Facts

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def shapes(text, *, edit=None):
    proto = from_text(f"{HEAD}\n{text}").proto()
    if edit is not None:
        edit(proto)
    model = Model.from_proto(proto)
    facts = Facts(model)
    return {out.name: facts.shape(out) for node in model.nodes() for out in node.outputs}


def test_declarations_of_inner_values_are_ignored():
    found = shapes("g (float[N,4] x) => (float[1,4] y) <float[1,4] h> { h = Relu (x)  y = Exp (h) }")
    assert found == {"h": ("N", 4), "y": ("N", 4)}


def test_dimensions_without_a_name_are_followed():
    def forget_name(proto):
        proto.graph.input[0].type.tensor_type.shape.dim[0].Clear()

    found = shapes("g (float[N,4] x) => (float[M,4] y) { h = Relu (x)  y = Exp (h) }", edit=forget_name)
    assert found["h"] == found["y"] == ("x[0]", 4)


def test_minus_one_from_an_old_exporter_is_not_a_size():
    def old(proto):
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1

    found = shapes("g (float[N,4] x) => (float[M,4] y) { y = Exp (x) }", edit=old)
    assert found["y"] == ("x[0]", 4)


def test_nothing_is_known_after_an_unknown_operator():
    def unknown(proto):
        proto.graph.node[0].op_type = "Mystery"
        proto.graph.node[0].domain = "org.example"
        proto.opset_import.add(domain="org.example", version=1)

    found = shapes("g (float[N,4] x) => (float[N,4] y) { h = Relu (x)  y = Exp (h) }", edit=unknown)
    assert found == {"h": None, "y": None}


def test_bodies_see_the_shapes_around_them():
    found = shapes("""g (bool c, float[N,4] x) => (float[N,4] y) {
        y = If (c) <then_branch = a () => (float[1,4] p) { p = Exp (x) },
                    else_branch = b () => (float[1,4] q) { q = Relu (x) }>
    }""")
    assert found == {"y": ("N", 4), "p": ("N", 4), "q": ("N", 4)}


def test_a_default_that_callers_may_override_is_not_a_constant():
    model = from_text(f"{HEAD}\ng (float[4] x, float[4] w) => (float[4] y) <float[4] w> {{ y = Mul (x, w) }}")
    weight = model.graph.nodes[0].inputs[1]
    assert Facts(model).constant(weight) is None
    model.header.ir_version = 3
    assert Facts(model).constant(weight) is weight
