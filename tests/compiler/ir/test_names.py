"""New names derive from old ones and are unique."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Variable
from onnx_compress.compiler.ir.names import fresh_name, names_of
from tests.compiler.ir.graphs import BRANCHES, CHAIN, load, node


def test_they_derive_and_never_collide_even_in_bodies():
    model = load(BRANCHES.replace("inner", '"w.new"'))
    assert fresh_name(model, "w", "new") == "w.new.new"
    assert fresh_name(model, "w", "new") == "w.new.new.new"
    assert fresh_name(model, "", "new") == "new"


def test_names_of_given_outputs_are_taken_too():
    model = load(CHAIN)
    made = Variable("a.more")
    edit.add_node(model, "Relu", [node(model, "first").outputs[0]], base="n", suffix="r",
                  after=node(model, "first"), outputs=[made])  # fmt: skip
    assert fresh_name(model, "a", "more") == "a.more.more"


def test_the_same_edits_give_the_same_names():
    models = [load(BRANCHES), load(BRANCHES).clone()]
    for model in models:
        for _ in range(3):
            edit.add_constant(model, "w", "x", np.zeros(2))
    assert models[0].proto() == models[1].proto()


def test_names_of_values_nodes_and_bodies_are_found():
    assert names_of(load(CHAIN)) == {"x", "w", "a", "b", "c", "y", "first", "copy", "second", "last", "v"}
    assert {"choose", "t", "inner", "in"} <= names_of(load(BRANCHES))
