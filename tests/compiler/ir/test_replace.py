"""Raising the opset and replacing a model by the result loses nothing of the file."""

import numpy as np
import onnx
import onnx.version_converter

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.opset import raise_opset
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime import session

OLD = """<ir_version: 4, opset_import: ["" : 9]>
g (float[N,8] x) => (float[N,1,64] y) <float[8,64] w, float[64] b>
{
   [gemm] h = Gemm (x, w, b)
   u = Unsqueeze <axes = [1]> (h)
   [end] y = Relu (u)
}"""


def old():
    proto = from_text(OLD).proto()
    proto.producer_name, proto.doc_string = "trainer", "about"
    proto.metadata_props.add(key="classes", value="a,b")
    proto.graph.doc_string = "a graph"
    proto.graph.node[0].doc_string = "the first"
    proto.graph.input[0].doc_string = "the input"
    return Model.from_proto(proto)


def test_the_opset_is_raised_and_the_numerics_stay():
    model = old()
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)}
    before = session.create(model).run(feeds)["y"]
    assert raise_opset(model, 13) is None
    assert model.opset == 13
    onnx.checker.check_model(model.proto(), full_check=True)
    np.testing.assert_array_equal(session.create(model).run(feeds)["y"], before)


def test_information_that_the_converter_drops_is_restored():
    model = old()
    before = model.proto()
    raise_opset(model, 13)
    after = model.proto()
    assert (after.producer_name, after.doc_string, after.metadata_props) == ("trainer", "about", before.metadata_props)
    assert after.graph.doc_string == "a graph"
    assert after.graph.node[0].doc_string == "the first"
    assert (after.graph.input, after.graph.output) == (before.graph.input, before.graph.output)
    assert [t.raw_data for t in after.graph.initializer if t.name == "w"] == [
        t.raw_data for t in before.graph.initializer if t.name == "w"
    ]
    assert next(c for c in model.constants() if c.name == "w").origin.name == "w"


def test_a_newer_model_is_left_alone():
    model = from_text(OLD.replace('"" : 9', '"" : 12'))
    before = model.proto()
    assert raise_opset(model, 11) is None
    assert model.proto() == before


def test_a_failed_conversion_is_reported_and_changes_nothing(monkeypatch):
    def fail(proto, version):
        raise RuntimeError("no adapter\n  for Mystery")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fail)
    model = old()
    before = model.proto()
    reason = raise_opset(model, 13)
    assert reason is not None
    assert reason.endswith("from opset 9: no adapter for Mystery")
    assert model.proto() == before


def test_initializers_that_are_inputs_stay_inputs():
    proto = old().proto()
    proto.graph.input.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in proto.graph.initializer
    )
    model = Model.from_proto(proto)
    assert raise_opset(model, 13) is None
    assert [info.name for info in model.proto().graph.input] == ["x", "w", "b"]
    assert [t.name for t in model.proto().graph.initializer] == ["w", "b"]
