"""Weights are turned into initializers for all their readers."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.surgery.lifted_weights import lifted
from tests.compiler.ir.graphs import is_whole, load, node

STORED = """g (float[N,4] x) => (float[N,4] y{})
{{ ["held"] k = Constant <value = float[4,4] {{}}> () ["copy"] a = Identity (k)
  ["first"] b = MatMul (x, a) ["second"] y = MatMul (b, k) }}"""


def test_a_constant_node_becomes_an_initializer_for_all_its_readers():
    model = load(STORED.format(""))
    constant, holder = lifted(model, node(model, "first"), 1)
    assert holder is model.graph
    edit.replace_values(model, constant, np.ones((4, 4), np.float32))
    assert all((input_value(node(model, name), 1) == 1).all() for name in ("first", "second"))
    edit.sweep(model)
    assert [found.name for found in model.nodes()] == ["copy", "first", "second"]
    assert is_whole(model)


def test_a_constant_node_that_is_also_an_output_stays():
    model = load(STORED.format(", float[4,4] k"))
    constant, _ = lifted(model, node(model, "second"), 1)
    edit.replace_values(model, constant, np.ones((4, 4), np.float32))
    assert all((input_value(node(model, name), 1) == 1).all() for name in ("first", "second"))
    assert (node(model, "held").attrs["value"].values != 1).any()
    assert is_whole(model)


def test_an_initializer_behind_identities_is_found_unchanged():
    model = load("""g (float[N,4] x) => (float[N,4] y) <float[4,4] w>
        { ["one"] a = Identity (w) ["two"] b = Identity (a) ["last"] y = MatMul (x, b) }""")
    assert lifted(model, node(model, "last"), 1) == (model.graph.initializers[0], model.graph)
