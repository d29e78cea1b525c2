from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.hoist import common_graph, hoist, lift
from tests.behaviour import distance, run
from tests.compiler.ir.graphs import BRANCHES, is_whole, load, node

FEEDS = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}


def body(model, branch):
    return node(model, "choose").attrs[branch]


@pytest.mark.parametrize(("branch", "flag"), [("then_branch", True), ("else_branch", False)])
def test_a_branch_in_place_of_the_choice_computes_the_same(branch, flag):
    model = load(BRANCHES)
    expected = run(model, {**FEEDS, "flag": np.array(flag)})
    hoist(model, node(model, "choose"), body(model, branch))
    assert is_whole(model)
    assert "If" not in [found.op for found in model.nodes()]
    assert [graph for graph in model.graphs() if graph is not model.graph] == []
    assert distance(expected, run(model, {**FEEDS, "flag": np.array(flag)})) == 0
    assert "h" in [output.name for found in model.nodes() for output in found.outputs]


def test_the_weights_of_the_branch_come_along_and_those_of_the_other_go():
    model = load(BRANCHES)
    hoist(model, node(model, "choose"), body(model, "then_branch"))
    assert {constant.name for constant in model.constants()} == {"w", "inner", "spare"}
    model = load(BRANCHES)
    hoist(model, node(model, "choose"), body(model, "else_branch"))
    assert {constant.name for constant in model.constants()} == {"w"}


def test_a_name_that_another_graph_uses_is_not_taken():
    """Two choices whose branches use the same names: their values would be one."""
    text = BRANCHES.replace(
        '["last"] y = Relu (h)',
        """["again"] k = If (flag) <
    then_branch = yes2 () => (float[N,4] t) { ["in2"] t = Neg (h) },
    else_branch = no2 () => (float[N,4] e) { ["out2"] e = Abs (h) }
  > ["last"] y = Relu (k)""",
    )
    model = load(text)
    feeds = {**FEEDS, "flag": np.array(True)}
    expected = run(model, feeds)
    hoist(model, node(model, "choose"), body(model, "then_branch"))
    assert is_whole(model)
    assert distance(expected, run(model, feeds)) == 0
    hoist(model, node(model, "again"), node(model, "again").attrs["then_branch"])
    assert is_whole(model)
    assert distance(expected, run(model, feeds)) == 0


def test_the_graph_that_two_bodies_share_is_the_one_around_them():
    model = load(BRANCHES)
    yes, no = body(model, "then_branch"), body(model, "else_branch")
    assert common_graph([yes, no]) is model.graph
    assert common_graph([yes, model.graph]) is model.graph
    assert common_graph([yes, yes]) is yes


def test_a_weight_is_lifted_out_of_its_body():
    model = load(BRANCHES)
    expected = run(model, {**FEEDS, "flag": np.array(True)})
    inner = next(constant for constant in model.constants() if constant.name == "inner")
    version = model.version
    lift(model, inner, model.graph)
    assert is_whole(model)
    assert model.version > version
    assert any(inner is constant for constant in model.graph.initializers)
    assert inner.name != "inner"
    assert distance(expected, run(model, {**FEEDS, "flag": np.array(True)})) == 0
    # Now the other branch may read it too.
    edit.set_input(model, node(model, "out"), 1, inner)
    assert is_whole(model)


def test_a_weight_that_lies_there_already_stays():
    model = load(BRANCHES)
    weight = next(constant for constant in model.constants() if constant.name == "w")
    version = model.version
    lift(model, weight, model.graph)
    assert (weight.name, model.version) == ("w", version)
