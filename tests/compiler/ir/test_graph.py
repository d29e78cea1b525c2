"""Names of layers."""

from __future__ import annotations

import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.opset import raise_opset
from tests.compiler.ir.graphs import HEAD, load, node

UNNAMED = """g (float[N,4] x) => (float[N,4] y) <float[4,4] w>
{ a = MatMul (x, w) ["scale"] b = Mul (a, x) y = Relu (b) }"""


def names(model: Model) -> list[str]:
    return [found.layer_name() for found in model.nodes()]


def test_a_node_without_a_name_has_the_name_of_its_first_output():
    model = load(UNNAMED)
    assert names(model) == ["a", "scale", "y"]
    assert [found.label() for found in model.nodes()] == ["MatMul 'a'", "Mul 'scale'", "Relu 'y'"]
    assert Node("LSTM", "", outputs=[Variable(""), Variable("h")]).layer_name() == "h", "the first output may be absent"


def test_the_name_stays_when_a_rewrite_gives_the_node_another_output():
    model = load(UNNAMED)
    edit.absorb(model, model.graph.nodes[0], node(model, "scale"))
    assert (model.graph.nodes[0].outputs[0].name, names(model)) == ("b", ["a", "y"])
    assert names(model.clone()) == ["a", "y"]
    assert raise_opset(model, 22) is None
    assert names(model) == ["a", "y"]


def test_a_printed_name_is_a_glob_for_its_node():
    found = Node("Conv", "block[0]/conv?")
    assert found.matches("block[0]/conv?")
    assert found.matches("block*")
    assert not Node("Conv", "block0/convx").matches("block[1]*")


@pytest.mark.parametrize(("glob", "expected"), [("a", ["a"]), ("*", ["a", "scale", "y"]), ("s*", ["scale"]), ("z", [])])
def test_globs_match_layer_names(glob, expected):
    assert [found.layer_name() for found in load(UNNAMED, HEAD).nodes() if found.matches(glob)] == expected
