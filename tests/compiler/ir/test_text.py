"""Models as text: canonical, complete enough to run, and unchanged when read back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import weights
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text, to_text
from tests.compiler.ir.everything import sparse
from tests.small_models import TEXTS, small_model

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_a_fixpoint_of_printing_and_parsing(name):
    text = to_text(small_model(name))
    assert to_text(from_text(text)) == text


@pytest.mark.parametrize(
    "declared",
    [
        "float[3,4] w",
        "float16[3] w",
        "bfloat16[3] w",
        "float8e4m3fn[3] w",
        "int4[5] w",
        "uint4[5] w",
        "int8[9] w",
        "uint8[2,2] w",
        "int64[20] w",
        "double w",
        "bool[9] w",
        "string[2] w",
        "float[0,4] w",
        'float[2] "odd name/with:signs"',
    ],
)
def test_weights_of_every_type_are_shapes_and_get_values(declared):
    name = declared.split(" ", 1)[1]
    model = from_text(f"{HEAD} g (float[2] x) => (float[2] y) <{declared}> {{ y = Any ({name}) }}")
    constant = next(model.constants())
    assert f"<{declared}>" in to_text(model)
    assert constant.values.shape == constant.shape
    assert to_text(from_text(to_text(model))) == to_text(model)


def test_values_depend_on_the_name_alone():
    a, b = (next(from_text(f"{HEAD} {g} () => (float[9] y) <float[9] w> {{ y = Neg (w) }}").constants()) for g in "ab")
    other = next(from_text(f"{HEAD} g () => (float[9] y) <float[9] v> {{ y = Neg (v) }}").constants())
    assert np.array_equal(a.values, b.values)
    assert not np.array_equal(a.values, other.values)
    assert 0.1 < np.abs(a.values).mean() < 3


def test_up_to_eight_integers_are_written_out():
    model = from_text(
        f"""{HEAD} g (float[2] x) => (float[2] y) <int64[2] few = {{1,-1}}, bool[1] flag = {{1}}, int32 one = {{7}},
        int64[9] many = {{1,2,3,4,5,6,7,8,9}}, int8[1] small = {{3}}, float[1] f = {{0.5}}>
        {{ y = Any (x, few, flag, one, many, small, f) }}"""
    )
    shown = "int64[2] few =  {1,-1}, bool[1] flag =  {1}, int32 one =  {7}"
    assert f"<{shown}, int64[9] many, int8[1] small, float[1] f>" in to_text(model)


def test_tensors_in_attributes_are_shapes_too():
    text = (
        f"{HEAD} g () => (float[2] y) {{ a = Constant <value = float[2] {{1,2}}> () "
        "b = Constant <value = int4[4] {}> () c = Constant <value = int64[2] {3,4}> () y = Any (a, b, c) }"
    )
    printed = to_text(from_text(text))
    for part in ("float[2] {}", "int4[4] {}", "int64[2] {3,4}"):
        assert part in printed
    assert to_text(from_text(printed)) == printed
    assert weights.constant_of(from_text(printed).graph.nodes[1].outputs[0]).values.shape == (4,)


def test_attributes_are_sorted_by_name_and_keep_their_types():
    printed = to_text(from_text(f"{HEAD} g (float x) => (float y) {{ y = Any <b = 1, c = 2.0, a = [3]> (x) }}"))
    assert "Any <a: ints = [3], b: int = 1, c: float = 2>" in printed


def test_a_declared_inner_value_is_not_a_weight():
    model = from_text(f"{HEAD} g (float[2] x) => (float[2] y) <float[2] h> {{ h = Neg (x) y = Neg (h) }}")
    assert not list(model.constants())
    assert "<float[2] h>" in to_text(model)


def test_a_weight_that_is_an_input_too():
    model = from_text(f"{HEAD} g (float[2] x, float[2] w) => (float[2] y) <float[2] w> {{ y = Add (x, w) }}")
    assert [info.name for info in model.inputs()] == ["x"]
    assert to_text(from_text(to_text(model))) == to_text(model)


def test_variances_and_scales_are_positive():
    text = TEXTS["residual"]
    values = {c.name: c.values for c in from_text(HEAD + text).constants()}
    assert (values["var"] > 0).all()
    assert (values["mean"] < 0).any()


def test_scales_of_every_quantized_operator_are_positive():
    text = """<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]> g (uint8[2,8] x) => (uint8[2,8] y)
    <float[8] s1, float[8] s2, float[8] s3, uint8 z, uint8[2,8] k, float[8] plain>
    { a = com.microsoft.QLinearAdd (x, s1, z, k, s2, z, s3, z) f = Mul (plain, plain) y = Identity (a) }"""
    values = {constant.name: constant.values for constant in from_text(text).constants()}
    assert all((values[name] > 0).all() for name in ("s1", "s2", "s3"))
    assert (values["plain"] < 0).any()


def test_sparse_weights_are_named_in_a_comment():
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Any", ["w"], ["y"])],
            "g",
            [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])],
            sparse_initializer=[sparse("w", [3, 4], [1.0, 2.0], [2, 11])],
        )
    )
    text = to_text(Model.from_proto(proto))
    assert "<float[3,4] w>" in text
    assert text.endswith("# sparse: w, 2 of 12 elements\n")
    assert from_text(text).graph.initializers[0].shape == (3, 4)


def test_information_outside_the_syntax_is_left_out():
    plain = from_text(f"{HEAD} g (float[2] x) => (float[2] y) {{ y = Neg (x) }}")
    proto = plain.proto()
    proto.doc_string = proto.graph.doc_string = proto.graph.node[0].doc_string = "notes"
    proto.metadata_props.add(key="k", value="v")
    proto.graph.node[0].metadata_props.add(key="k", value="v")
    assert to_text(Model.from_proto(proto)) == to_text(plain)


def test_computed_floats_never_appear():
    rng = np.random.default_rng(0)
    texts = set()
    for _ in range(2):
        w = numpy_helper.from_array(rng.random((2, 2), np.float32), "w")
        graph = helper.make_graph(
            [helper.make_node("Neg", ["w"], ["y"])], "g", [], [onnx.ValueInfoProto(name="y")], [w]
        )
        texts.add(to_text(Model.from_proto(helper.make_model(graph))))
    assert len(texts) == 1


def test_a_text_that_is_not_a_model_is_an_error_with_its_place():
    with pytest.raises(ModelError, match=r"the text is not a model: .*line: 1 column: "):
        from_text("<ir_version: 10> nonsense")
