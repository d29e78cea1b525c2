from __future__ import annotations

import random

import onnx
import pytest

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.order import reads, sorted_nodes

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
DIAMOND = """g (float[4] x) => (float[4] y) {
  ["first"] a = Relu (x)  ["left"] b = Neg (a)  ["right"] c = Abs (a)  ["sum"] d = Add (b, c)  ["last"] y = Exp (d) }"""
BODY = """g (float[4] x, bool flag) => (float[4] y) {
  ["early"] a = Relu (x)
  ["choose"] y = If (flag) <
    then_branch = yes () => (float[4] t) { ["in"] b = Neg (a) t = Abs (b) },
    else_branch = no () => (float[4] e) { e = Relu (x) }
  > }"""


def graph(text):
    return onnx.parser.parse_model(HEAD + text).graph


def shuffled(text, seed):
    made = graph(text)
    nodes = list(made.node)
    random.Random(seed).shuffle(nodes)
    del made.node[:]
    made.node.extend(nodes)
    return made


def names(nodes):
    return [node.name for node in nodes]


def test_an_order_that_holds_is_kept():
    made = graph(DIAMOND)
    assert sorted_nodes(made, {"x"}) is made.node


@pytest.mark.parametrize("seed", range(6))
def test_every_node_comes_after_what_it_reads(seed):
    found = names(sorted_nodes(shuffled(DIAMOND, seed), {"x"}))
    assert set(found) == {"first", "left", "right", "sum", "last"}
    assert found[0] == "first"
    assert found[3:] == ["sum", "last"]


def test_of_nodes_that_are_ready_the_first_in_the_file_comes_first():
    made = graph(DIAMOND)
    nodes = [made.node[i] for i in (4, 2, 1, 0, 3)]
    del made.node[:]
    made.node.extend(nodes)
    assert names(sorted_nodes(made, {"x"})) == ["first", "right", "left", "sum", "last"]


def test_what_a_body_reads_must_come_before():
    made = graph(BODY)
    made.node.reverse()
    assert names(sorted_nodes(made, {"x", "flag"})) == ["early", "choose"]


def test_a_node_reads_what_its_bodies_read_from_outside():
    assert sorted(reads(graph(BODY).node[1])) == ["a", "flag", "x"]


def test_a_cycle_is_named():
    made = graph('g (float[4] x) => (float[4] y) { ["one"] a = Add (x, b) ["two"] b = Relu (a) y = Neg (b) }')
    with pytest.raises(ModelError, match="the graph has a cycle through node Add 'one'"):
        sorted_nodes(made, {"x"})


def test_an_undefined_name_is_not_a_cycle():
    made = graph('g (float[4] x) => (float[4] y) { ["two"] y = Add (a, missing) ["one"] a = Relu (x) }')
    assert names(sorted_nodes(made, {"x"})) == ["one", "two"]
