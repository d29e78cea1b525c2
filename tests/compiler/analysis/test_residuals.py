import time

import pytest
from onnx import TensorProto, helper

from onnx_compress.compiler.analysis.residuals import Residuals
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


def found(body, head="g (float[N,8] x) => (float[N,8] y) <float[8,8] w>"):
    return Residuals.of(from_text(f"{HEAD}{head} {{ {body} }}"))


def parts(residual):
    """Shortcut, result, and the nodes of the branch by their first outputs."""
    return residual.shortcut.name, residual.result.name, [node.outputs[0].name for node in residual.nodes]


@pytest.mark.parametrize("op", ["Add", "Sum"])
@pytest.mark.parametrize("terms", ["a, c", "c, a"])
def test_a_branch_is_the_nodes_needed_only_for_the_addition(op, terms):
    result = found(f"a = MatMul (x, w) b = MatMul (a, w) c = Relu (b) y = {op} ({terms})")
    (block,) = result.branches
    assert parts(block) == ("a", "c", ["b", "c"])
    assert block.add.inputs[1 - block.slot] is block.result
    assert block.label == "MatMul 'b'"
    assert result.refused == ()


def test_branches_may_be_nested():
    result = found("a = MatMul (x, w) b = MatMul (a, w) c = Add (a, b) d = MatMul (c, w) y = Add (x, d)")
    assert [parts(block) for block in result.branches] == [("a", "b", ["b"]), ("x", "d", ["a", "b", "c", "d"])]


def test_nodes_that_only_the_branch_needs_belong_to_it():
    head = "g (float[N,8] x, float[N,8] z) => (float[N,8] y) <float[8,8] w>"
    (block,) = found("a = MatMul (z, w) b = MatMul (x, w) c = Mul (a, b) y = Add (x, c)", head).branches
    assert parts(block) == ("x", "c", ["a", "b", "c"])


def test_a_value_that_others_read_may_enter_if_it_does_not_depend_on_the_shortcut():
    head = "g (float[N,8] x, float[N,8] z) => (float[N,8] y, float[N,8] k) <float[8,8] w>"
    (block,) = found("a = MatMul (z, w) b = MatMul (x, w) c = Mul (a, b) y = Add (x, c) k = Relu (a)", head).branches
    assert parts(block) == ("x", "c", ["b", "c"])


@pytest.mark.parametrize(
    "body",
    [
        "a = MatMul (x, w) b = MatMul (x, w) y = Add (a, b)",
        "a = MatMul (x, w) y = Add (a, a)",
        "a = Mul (x, x) b = Relu (a) y = Add (x, b)",
        "a = MatMul (w, w) b = MatMul (x, w) y = Add (a, b)",
        "a = MatMul (x, w) b = MatMul (a, w) c = MatMul (a, w) y = Sum (a, b, c)",
        "a = Shape (x) b = Expand (w, a) y = Add (x, b)",
    ],
)
def test_other_sums_are_not_branches(body):
    result = found(body, "g (float[N,8] x) => (float[N,8] y) <float[8,8] w>")
    assert (result.branches, result.refused) == ((), ())


def test_a_value_read_elsewhere_is_named():
    head = "g (float[N,8] x) => (float[N,8] y, float[N,8] z) <float[8,8] w>"
    result = found("a = MatMul (x, w) b = MatMul (a, w) z = Relu (a) y = Add (x, b)", head)
    assert result.branches == ()
    assert [(node.op, why) for node, why in result.refused] == [
        ("Add", "its branch can't be removed: 'a' in it is also read elsewhere")
    ]


def built(nodes, out):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", out)]
    weight = helper.make_tensor("w", TensorProto.FLOAT, (4, 4), [0.5] * 16)
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [weight])
    return Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def residual_net(count):
    nodes, last = [], "x"
    for i in range(count):
        nodes += [
            helper.make_node("MatMul", [last, "w"], [f"a{i}"]),
            helper.make_node("Relu", [f"a{i}"], [f"b{i}"]),
            helper.make_node("MatMul", [f"b{i}", "w"], [f"c{i}"]),
            helper.make_node("Add", [last, f"c{i}"], [f"s{i}"]),
        ]
        last = f"s{i}"
    return built(nodes, last)


def nested_branches(count):
    nodes, last = [], "x"
    for i in range(count):
        nodes += [
            helper.make_node("MatMul", [last, "w"], [f"a{i}"]),
            helper.make_node("Add", ["x", f"a{i}"], [f"s{i}"]),
        ]
        last = f"s{i}"
    return built(nodes, last)


def long_sum(count):
    nodes = [helper.make_node("MatMul", ["x", "w"], [f"b{i}"]) for i in range(count)]
    nodes.append(helper.make_node("Add", ["b0", "b1"], ["s1"]))
    nodes += [helper.make_node("Add", [f"s{i - 1}", f"b{i}"], [f"s{i}"]) for i in range(2, count)]
    return built(nodes, f"s{count - 1}")


@pytest.mark.parametrize(("net", "count"), [(residual_net, 1000), (nested_branches, 2000), (long_sum, 2000)])
def test_four_thousand_nodes_take_well_under_a_second(net, count):
    model = net(count)
    started = time.process_time()
    result = Residuals.of(model)
    assert time.process_time() - started < 1.0
    if net is residual_net:
        assert [len(block.nodes) for block in result.branches] == [3] * count


def test_too_many_nested_branches_are_refused():
    result = Residuals.of(nested_branches(200))
    assert len(result.branches) > 50
    assert {why for _, why in result.refused} == {"its branch is not analysed: too many nested branches"}


@pytest.mark.parametrize(
    "op", ["Bernoulli (w)", "RandomNormalLike (w)", "Multinomial <dtype = 1, sample_size = 8> (w)"]
)
def test_a_value_that_is_drawn_from_a_constant_is_not_a_constant(op):
    """Otherwise the sum would be no addition of two computed values."""
    result = found(f"a = {op} b = MatMul (a, w) c = MatMul (b, w) y = Add (b, c)")
    assert [parts(block) for block in result.branches] == [("b", "c", ["c"])]
