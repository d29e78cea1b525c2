from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.files.exporter import embedded, export_info, external_entry, placeholder
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,4] x) => (float[N,2] y) <float[4,2] w, float[2] b> { h = MatMul (x, w) y = Add (h, b) }"""


def constant_of(model: Model, name: str):
    return next(constant for constant in model.constants() if constant.name == name)


def test_an_embedded_constant_has_its_bytes():
    constant = constant_of(from_text(TEXT), "w")
    made = embedded(constant)
    assert made.name == "w"
    assert np.array_equal(numpy_helper.to_array(made), constant.values)


def test_an_external_constant_keeps_its_notes():
    proto = from_text(TEXT).proto()
    weight = next(t for t in proto.graph.initializer if t.name == "w")
    weight.doc_string = "trained"
    model = Model.from_proto(proto)
    assert external_entry(constant_of(model, "w"), "w.bin", 0).doc_string == "trained"


@pytest.mark.parametrize(("limit", "has_data"), [(4 * 8, True), (4 * 8 - 1, False)])
def test_a_large_weight_is_a_placeholder(limit, has_data):
    made = placeholder(constant_of(from_text(TEXT), "w"), limit)
    assert (list(made.dims), made.data_type) == ([4, 2], TensorProto.FLOAT)
    assert bool(made.raw_data) == has_data


def test_an_external_entry_says_where_the_bytes_are():
    made = external_entry(constant_of(from_text(TEXT), "w"), "w.bin", 64)
    assert made.data_location == TensorProto.EXTERNAL
    assert {e.key: e.value for e in made.external_data} == {"location": "w.bin", "offset": "64", "length": "32"}


def test_declared_shapes_are_written():
    model = from_text(TEXT)
    info = export_info(model.inputs()[0])
    assert info == helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])


def test_the_remarks_of_a_declaration_stay_when_the_shape_changes():
    proto = from_text(TEXT).proto()
    proto.graph.input[0].doc_string = "a sample"
    proto.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    model = Model.from_proto(proto)
    edit.set_shape(model, model.inputs()[0], ("M", 4))
    made = model.proto().graph.input[0]
    assert (made.doc_string, made.type.tensor_type.shape.dim[0].dim_param) == ("a sample", "M")
    assert made.type.tensor_type.shape.dim[0].denotation == "DATA_BATCH"


def test_a_new_node_and_constant_are_written():
    model = from_text(TEXT)
    made = edit.add_constant(model, "w", "scale", np.float32([2.0]))
    last = model.graph.nodes[-1]
    edit.add_node(model, "Mul", [last.outputs[0], made], base="y", suffix="scaled", after=last)
    proto = model.proto()
    assert proto.graph.node[-1].op_type == "Mul"
    assert "w.scale" in {t.name for t in proto.graph.initializer}
    onnx.checker.check_model(proto)
