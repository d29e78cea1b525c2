from __future__ import annotations

import numpy as np
import onnx

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.store import store_as
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.forms.choice import cheapest
from onnx_compress.compiler.storage.weight import WeightValues
from onnx_compress.passes.encode._candidates import candidates, is_sparse, stored
from onnx_compress.passes.encode.encode import Encode
from tests.contexts import context

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,16] x, float[16,16] given) => (float[N,16] y)
<float[16,16] a, float[16,16] b, int32[16,16] number, float[4] small, float[16,16] given>
{ ["one"] h = MatMul (x, a) i = MatMul (h, given) ["two"] j = MatMul (i, b) k = Cast <to=1> (number)
  l = MatMul (j, k) y = Relu (l) }"""


def found(model: Model, **options) -> list[str]:
    return [constant.name for constant in candidates(model.graph, context(Encode(), model, **options))]


def test_large_weights_of_a_storable_type_that_nobody_may_replace():
    assert found(from_text(TEXT)) == ["a", "b"]


def test_weights_of_excluded_layers_are_left_out():
    assert found(from_text(TEXT), exclude=("two",)) == ["a"]


def test_tensors_that_an_annotation_names_are_left_out():
    proto = from_text(TEXT).proto()
    entry = onnx.StringStringEntryProto(key="SCALE_TENSOR", value="b")
    proto.graph.quantization_annotation.append(
        onnx.TensorAnnotation(tensor_name="x", quant_parameter_tensor_names=[entry])
    )
    assert found(Model.from_proto(proto)) == ["a"]


def test_stored_and_sparse_weights_are_told_apart():
    model = from_text(TEXT)
    assert stored(model.graph) == set()
    constant = next(c for c in model.constants() if c.name == "a")
    values = np.tile(np.float32([0, 1]), 128).reshape(16, 16)
    edit.replace_values(model, constant, values)
    store_as(model, {"a": constant}, cheapest(WeightValues(values), "a", "a", 21))
    assert {c.name for c in stored(model.graph)} == {"a"}
    assert not any(is_sparse(c) for c in model.constants())
