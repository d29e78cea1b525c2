"""Hints from the graph about its inputs, seen through operators that hold no other values than their first input."""

from __future__ import annotations

import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.data.input_hints import hints_of

DECLARED = (
    "<float[50,4] table, int64[1] first = {0}, int64[1] two = {2}, int64[2] repeats = {1,2}, int64[2] sizes = {3,3}>"
)


def below(nodes, reader="Gather (table, i)"):
    text = f"g (int64[2,6] ids) => (float y) {DECLARED} {{ {nodes} y = {reader} }}"
    return hints_of(from_text('<ir_version: 10, opset_import: ["" : 21]>' + text)).below


@pytest.mark.parametrize(
    "nodes",
    [
        "i = Squeeze (ids)",
        "i = Tile (ids, repeats)",
        "i = Gather (ids, first)",
        "i = Slice (ids, first, two)",
        "i, j = Split <axis = 1> (ids, sizes)",
        "c = Cast <to = 6> (ids) i = Transpose <perm = [1, 0]> (c)",
        "m = ReduceMax (ids, first) i = Unsqueeze (m, first)",
    ],
)
def test_an_index_is_followed_to_the_input(nodes):
    assert below(nodes) == {"ids": 50}


@pytest.mark.parametrize("nodes", ["i = Add (ids, first)", "i = Neg (ids)", "i = CumSum (ids, first)"])
def test_a_value_that_is_computed_is_not(nodes):
    assert below(nodes) == {}


def test_every_operator_that_takes_positions_counts():
    assert below("", "GatherElements (table, ids)") == {"ids": 50}
    assert below("", "Gather <axis = 1> (table, ids)") == {"ids": 4}


def hints(text):
    return hints_of(from_text('<ir_version: 10, opset_import: ["" : 21]>' + text))


def test_the_smallest_of_several_tables_counts():
    found = hints(
        """g (int64[N] i) => (float[N,4] y) <float[30,4] table, float[7,4] small> {
        a = Gather (table, i) b = Gather (small, i) y = Add (a, b) }"""
    )
    assert found.below == {"i": 7}


@pytest.mark.parametrize("order", ["x, three", "three, x"])
def test_what_an_input_is_compared_with(order):
    found = hints(f"g (int64[N] x) => (bool[N] y) <int64 three = {{3}}> {{ y = Equal ({order}) }}")
    assert found.equal == {"x": 3}


def test_bodies_count_too():
    found = hints(
        """g (bool c, int64[N] i) => (float[N,4] y) <float[30,4] table> {
        y = If (c) < then_branch = t () => (float[N,4] a) { a = Gather (table, i) },
                     else_branch = e () => (float[N,4] b) { d = Gather (table, i) b = Neg (d) } > }"""
    )
    assert found.below == {"i": 30}
