from __future__ import annotations

import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.simplify._analysis.constant_groups import GROWTH, groups_that_pay
from onnx_compress.passes.simplify._analysis.facts import Facts

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def found(text: str) -> list[list[str]]:
    """The operators of each group among all nodes but the last."""
    model = from_text(HEAD + text)
    return [[node.op for node in group.nodes] for group in groups_that_pay(Facts(model), model.graph.nodes[:-1])]


def test_a_weight_that_is_replaced_does_not_grow():
    text = "g (float[N,40] x) => (float[N,40] y) <float[40,40] w> { t = Transpose (w) n = Neg (t) y = MatMul (x, n) }"
    assert found(text) == [["Transpose", "Neg"]]


def test_a_weight_that_another_node_still_reads_is_not_folded():
    text = """g (float[N,40] x) => (float[N,40] y, float[N,40] z) <float[40,40] w>
    { t = Transpose (w) z = MatMul (x, w) y = MatMul (x, t) }"""
    model = from_text(HEAD + text)
    nodes = [model.graph.nodes[0]]
    assert groups_that_pay(Facts(model), nodes) == []


@pytest.mark.parametrize(("size", "folded"), [(GROWTH // 4, True), (4 * GROWTH, False)])
def test_a_fill_is_folded_while_it_is_small(size, folded):
    text = f"""g (float[N] x) => (float[N] y) <int64[1] s = {{{size}}}>
    {{ k = ConstantOfShape (s) y = Add (x, k) }}"""
    assert found(text) == ([["ConstantOfShape"]] if folded else [])


def test_of_a_group_that_grows_only_the_largest_result_is_left():
    text = """g (float[N] x) => (float[N] y) <int64[1] s = {4000}, float[1] a>
    { h = Neg (a) k = ConstantOfShape (s) l = Add (k, h) m = Add (x, h) y = Add (m, l) }"""
    model = from_text(HEAD + text)
    groups = groups_that_pay(Facts(model), model.graph.nodes[:3])
    assert [node.op for group in groups for node in group.nodes] == ["Neg"]


def test_equal_computations_count_once():
    """Two branches compute the same, which is written once."""
    text = """g (float[N,40] x) => (float[N,40] y) <float[40,40] w>
    { t = Transpose (w) u = Transpose (w) a = MatMul (x, t) b = MatMul (x, u) y = Add (a, b) }"""
    model = from_text(HEAD + text)
    groups = groups_that_pay(Facts(model), model.graph.nodes[:2])
    assert [len(group.nodes) for group in groups] == [2]
    assert [len(outs) for outs in groups[0].makes.values()] == [2]
