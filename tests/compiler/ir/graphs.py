"""Graphs to edit, and the invariants that must hold afterwards."""

from __future__ import annotations

import onnx

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'

CHAIN = """g (float[N,4] x) => (float[N,4] y) <float[4,4] w, float[4,4] v>
{ ["first"] a = MatMul (x, w) ["copy"] b = Identity (a) ["second"] c = MatMul (b, w) ["last"] y = Add (c, x) }"""

BRANCHES = """g (float[N,4] x, bool flag) => (float[N,4] y) <float[4,4] w>
{
  ["dead"] unused = Neg (x)
  ["copy"] a = Identity (x)
  ["choose"] h = If (flag) <
    then_branch = yes () => (float[N,4] t) <float[4,4] inner, float[2] spare>
      { ["in"] t = MatMul (a, inner) ["idle"] nobody = Neg (w) },
    else_branch = no () => (float[N,4] e) { ["out"] e = MatMul (a, w) }
  >
  ["last"] y = Relu (h)
}"""


def load(text: str, head: str = HEAD) -> Model:
    return from_text(head + text)


def node(model: Model, name: str) -> Node:
    return next(found for found in model.nodes() if found.name == name)


def is_whole(model: Model) -> bool:
    """Whether the graph's links agree in both directions, its nodes know their graph, and the result is valid."""
    present = {id(found) for found in model.nodes()}
    for graph in model.graph.graphs():
        for found in graph.nodes:
            assert found.graph is graph
            assert all(found in tensor.outputs for tensor in found.inputs)
            assert all(tensor.inputs == [found] for tensor in found.outputs)
            for tensor in (*found.inputs, *found.outputs):
                assert {id(reader) for reader in tensor.outputs} <= present, f"a ghost reads {tensor.name}"
    assert model.graphs() == list(model.graph.graphs())
    onnx.checker.check_model(model.proto(), full_check=True)
    return True
