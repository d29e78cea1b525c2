from __future__ import annotations

import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.rule import forward, is_untouched
from tests.behaviour import feeds_for, run

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


@pytest.mark.parametrize(
    ("op", "untouched"), [("RandomNormalLike", True), ("QuantizeLinear", True), ("Dropout", True), ("Add", False)]
)
def test_random_and_quantizing_nodes_are_untouched(op, untouched):
    model = from_text(
        HEAD + f"g (float[N] x) => (y) <float s = {{1.0}}> {{ y = {op} (x, s) }}".replace("(y)", "(float[N] y)")
    )
    assert is_untouched(model.graph.nodes[0]) == untouched


def test_readers_read_the_source():
    model = from_text(HEAD + "g (float[N] x) => (float[N] y, float[N] z) { h = Identity (x) y = Relu (h) z = Neg (h) }")
    assert forward(model, Facts(model), model.graph.nodes[0], model.inputs()[0])
    assert all(node.inputs[0] is model.inputs()[0] for node in model.graph.nodes[1:])


def test_the_name_of_an_output_moves_to_its_source():
    model = from_text(HEAD + "g (float[N] x) => (float[N] y) { h = Relu (x) y = Identity (h) }")
    before = run(model, feeds := feeds_for(model))
    assert forward(model, Facts(model), model.graph.nodes[1], model.graph.nodes[0].outputs[0])
    assert model.outputs()[0].name == "y"
    assert (run(model, feeds)[0] == before[0]).all()


def test_an_input_can_not_take_the_name_of_an_output():
    model = from_text(HEAD + "g (float[N] x) => (float[N] y) { y = Identity (x) }")
    assert not forward(model, Facts(model), model.graph.nodes[0], model.inputs()[0])
    assert [node.op for node in model.graph.nodes] == ["Identity"]
