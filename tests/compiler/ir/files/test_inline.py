"""Model-local functions are inlined on load; everything else of the model stays."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.model import Model
from tests.behaviour import feeds_for, run

TEXT = """<ir_version: 10, opset_import: ["" : 21, "local" : 1], producer_name: "maker", metadata_props: ["k" : "v"]>
g (float[N,4] x) => (float[N,4] y) <float[4,4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}>
{ ["first"] a = local.twice <slope = 0.5> (x) ["second"] b = local.twice <slope = 0.25> (a) y = MatMul (b, w) }
<opset_import: ["" : 21, "local" : 1], domain: "local">
twice <slope> (p) => (q) { t = local.leaky <s: float = @slope> (p) q = Add (t, p) }
<opset_import: ["" : 21], domain: "local">
leaky <s> (p) => (q) { q = LeakyRelu <alpha: float = @s> (p) }
"""


def proto() -> onnx.ModelProto:
    parsed = onnx.parser.parse_model(TEXT)
    parsed.graph.doc_string = "kept"
    parsed.graph.input[0].doc_string = "kept too"
    return parsed


def test_functions_in_functions_become_operators():
    model = Model.from_proto(proto())
    assert [node.op for node in model.nodes()] == ["LeakyRelu", "Add", "LeakyRelu", "Add", "MatMul"]
    assert [node.attrs.get("alpha") for node in model.nodes()][0:3:2] == [0.5, 0.25]
    assert not model.proto().functions
    onnx.checker.check_model(model.proto(), full_check=True)


def test_the_numbers_stay():
    model = Model.from_proto(proto())
    x = feeds_for(model)
    expected = x["x"]
    for slope in (0.5, 0.25):
        expected = np.where(expected >= 0, expected, slope * expected) + expected
    np.testing.assert_allclose(run(model, x)[0], expected, rtol=1e-6)


def test_everything_else_stays():
    saved = Model.from_proto(proto()).proto()
    assert saved.producer_name == "maker"
    assert {entry.key: entry.value for entry in saved.metadata_props} == {"k": "v"}
    assert saved.graph.doc_string == "kept"
    assert saved.graph.input[0] == proto().graph.input[0]
    assert list(saved.graph.output) == list(proto().graph.output)
    assert list(saved.graph.initializer) == list(proto().graph.initializer)


def test_names_inside_do_not_collide():
    names = [out.name for node in Model.from_proto(proto()).nodes() for out in node.outputs]
    assert len(names) == len(set(names))


def test_a_function_that_calls_itself_is_refused():
    broken = proto()
    broken.functions[1].node[0].op_type, broken.functions[1].node[0].domain = "twice", "local"
    with pytest.raises(ModelError, match="local functions can't be inlined"):
        Model.from_proto(broken)
