from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.model import Model
from tests.compiler.ir.everything import everything


def test_nodes_out_of_order_are_put_in_order():
    proto = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Add", ["b", "late"], ["y"]),
                helper.make_node("Neg", ["a"], ["b"]),
                helper.make_node("If", ["c"], ["late"], **_reads("a")),
                helper.make_node("Relu", ["x"], ["a"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]), _flag("c")],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        )
    )
    model = Model.from_proto(proto)
    assert [node.op for node in model.graph.nodes] == ["Relu", "Neg", "If", "Add"]
    onnx.checker.check_model(model.proto(), full_check=True)


def _flag(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.BOOL, [])


def _reads(name: str) -> dict[str, onnx.GraphProto]:
    def body(side: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(side, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Identity", [name], [side])], side, [], [out])

    return {"then_branch": body("t"), "else_branch": body("e")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ y = Add (y, x) }", "cycle through node Add"),
        ("{ a = Add (b, x) b = Neg (a) y = Neg (b) }", "cycle through node Add"),
        ("{ y = Add (x, nothing) }", "reads 'nothing', which the model does not define"),
        ("{ z = Neg (x) }", "graph output 'y' is not computed by any node"),
        ("{ y = Neg (x) y = Neg (x) }", "defines 'y' a second time"),
        ("{ x = Neg (x) y = Neg (x) }", "defines 'x' a second time"),
        ("{ y = If (c) <then_branch = t () => (float[2] o) { o = Neg(y) }> }", "cycle through node If"),
        ("<float[2] w = {1,2}, float[2] w = {1,2}> { y = Add (x, w) }", "initializer 'w' is defined twice"),
        ("{ y = A <k = 1, k = 2> (x) }", "A 'y' has two attributes 'k'"),
    ],
)
def test_an_invalid_graph_is_refused(text, message):
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 21]> g (float[2] x, bool c) => (float[2] y) {text}'
    )
    with pytest.raises(ModelError, match=message):
        Model.from_proto(proto)


@pytest.mark.parametrize("field", ["opset_import", "graph"])
def test_an_empty_model_is_refused(field):
    proto = everything()
    proto.ClearField(field)
    with pytest.raises(ModelError, match=r"empty|declares no opset"):
        Model.from_proto(proto)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    raw = everything().SerializeToString().replace(b"inner_w", b"inner\xff\xfe")
    (tmp_path / "a.onnx").write_bytes(raw)
    with pytest.raises(ModelError, match="not UTF-8"):
        Model.load(tmp_path / "a.onnx")
