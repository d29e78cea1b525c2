from __future__ import annotations

import gc
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_compress.compiler.errors import DataError, ModelError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.in_memory import hand_over
from tests.compiler.runtime.nets import BRANCHES, LINEAR, ZIPMAP, net

CONV_NET = """g (float[N,3,8,8] x) => (float[N,16,8,8] y) {
  a = Conv <pads = [1,1,1,1]> (x, k)
  b = BatchNormalization (a, g1, b1, m1, v1)
  i = Cast <to = 6> (index)
  w = Gather (book, i)
  c = Conv (b, w)
  y = Relu (c)
}"""


def conv_net() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    vectors = {name: rng.random(16, np.float32) + 0.5 for name in ("g1", "b1", "m1", "v1")}
    return net(
        CONV_NET,
        k=rng.standard_normal((16, 3, 3, 3)).astype(np.float32),
        index=rng.integers(0, 4, (16, 16, 1, 1)).astype(np.uint8),
        book=rng.standard_normal(4).astype(np.float32),
        **vectors,
    )


def image(count: int = 2) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((count, 3, 8, 8)).astype(np.float32)}


def test_message_model_and_file_compute_the_same_bits(tmp_path: Path) -> None:
    proto = conv_net()
    onnx.save(proto, tmp_path / "m.onnx")
    expected = session.create(proto).run(image())["y"]
    for other in (Model.from_proto(proto), tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
        np.testing.assert_array_equal(session.create(other).run(image())["y"], expected)


def test_large_weights_are_passed_by_reference_and_small_ones_in_the_message() -> None:
    model = Model.from_proto(conv_net())
    handover = hand_over(model)
    assert set(handover.weights) == {"k"}
    assert isinstance(handover.source, bytes)
    assert len(handover.source) < model.weight_bytes()


def test_a_weight_given_by_reference_is_folded_and_fused_like_any_other(tmp_path: Path) -> None:
    loaded = session.create(Model.from_proto(conv_net()), profile=tmp_path / "p")
    loaded.run(image())
    events = json.loads(loaded.end_profiling().read_text())
    operators = [event["args"]["op_name"] for event in events if event["cat"] == "Node"]
    assert "Gather" not in operators
    assert "BatchNormalization" not in operators


def test_the_weights_outlive_the_model() -> None:
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((64, 64)).astype(np.float32)
    # Sum reads its operand directly, without packing it into a copy.
    loaded = session.create(
        Model.from_proto(net("g (float[64,64] x) => (float[64,64] y) { y = Sum (x, w) }", w=weight))
    )
    expected = weight.copy()
    del weight
    gc.collect()
    junk = [rng.standard_normal((64, 64)).astype(np.float32) for _ in range(50)]
    np.testing.assert_array_equal(loaded.run({"x": np.zeros((64, 64), np.float32)})["y"], expected)
    assert len(junk) == 50


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint16, np.int64, np.bool_])
def test_weights_of_many_types_are_passed_by_reference(dtype: type) -> None:
    weight = np.random.default_rng(0).integers(0, 2, (40, 40)).astype(dtype)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    declared = onnx.TensorProto.DataType.Name(element).lower()
    weight = np.concatenate([weight] * 8)
    model = Model.from_proto(net(f"g (int64 i) => ({declared}[40] y) {{ y = Gather (w, i) }}", w=weight))
    assert set(hand_over(model).weights) == {"w"}
    np.testing.assert_array_equal(session.create(model).run({"i": np.array(3)})["y"], weight[3])


def test_a_weight_in_another_memory_order() -> None:
    weight = np.random.default_rng(0).standard_normal((300, 40)).astype(np.float32)
    model = Model.from_proto(net("g (float[40,300] x) => (float[40,300] y) { y = Sum (x, w) }", w=weight.T.copy()))
    model.graph.initializers[0].values_set(weight.T)
    found = session.create(model).run({"x": np.zeros((40, 300), np.float32)})["y"]
    np.testing.assert_array_equal(found, weight.T)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.int4])
def test_types_that_cannot_be_passed_by_reference_are_embedded(dtype: type) -> None:
    weight = np.arange(3000).reshape(60, 50).astype(np.int8) % 7
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    text = "g (int64 i) => (float[50] y) { a = Cast <to = 1> (w) y = Gather (a, i) }"
    if dtype is ml_dtypes.int4:
        text = "g (int64 i) => (float[50] y) <float one = {1}> { a = DequantizeLinear (w, one) y = Gather (a, i) }"
    tensor = helper.make_tensor("w", element, weight.shape, weight.astype(dtype).ravel())
    proto = net(text)
    proto.graph.initializer.append(tensor)
    model = Model.from_proto(proto)
    assert not hand_over(model).weights
    np.testing.assert_array_equal(session.create(model).run({"i": np.array(3)})["y"], weight[3].astype(np.float32))


def test_an_unread_weight_does_not_matter() -> None:
    proto = net(LINEAR, unused=np.zeros(1000, np.float32))
    assert session.create(Model.from_proto(proto)).run({"x": np.ones((1, 3), np.float32)})["y"].shape == (1, 2)


def test_a_weight_read_only_in_a_branch() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 300)).astype(np.float32)
    text = """g (bool c, float[N,4] x) => (float[N,300] y) {
      y = If (c) <then_branch = t () => (float[N,300] a) { a = MatMul (x, w) },
                  else_branch = e () => (float[N,300] d) { m = MatMul (x, w) d = Neg (m) }> }"""
    loaded = session.create(Model.from_proto(net(text, w=weight)))
    x = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(loaded.run({"x": x, "c": np.array(False)})["y"], -x @ weight, rtol=1e-5)


def test_external_data_is_read_only_from_the_folder_of_the_file(tmp_path: Path) -> None:
    proto = conv_net()
    expected = session.create(proto).run(image())["y"]
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    for model in (tmp_path / "m.onnx", Model.load(tmp_path / "m.onnx")):
        np.testing.assert_array_equal(session.create(model).run(image())["y"], expected)
    bare = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    with pytest.raises(ModelError, match="in another file"):
        session.create(bare)


def test_a_file_may_be_deleted_after_loading(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)
    proto = net("g (float[300,300] x) => (float[300,300] y) { y = Sum (x, w) }", w=weight)
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    loaded = session.create(Model.load(tmp_path / "m.onnx"))
    (tmp_path / "w.bin").unlink()
    np.testing.assert_array_equal(loaded.run({"x": np.zeros((300, 300), np.float32)})["y"], weight)


def test_inner_values_as_additional_outputs(tmp_path: Path) -> None:
    proto = conv_net()
    before = proto.SerializeToString()
    onnx.save(proto, tmp_path / "m.onnx")
    for model in (proto, Model.from_proto(proto), tmp_path / "m.onnx"):
        loaded = session.create(model, outputs=["b"])
        assert [str(spec) for spec in loaded.outputs] == ["y: float32 [N, 16, 8, 8]", "b: float32 [N, 16, 8, 8]"]
        assert set(loaded.run(image(), ["b"])) == {"b"}
    assert proto.SerializeToString() == before


def test_an_output_that_declares_nothing_has_the_type_that_onnxruntime_finds() -> None:
    proto = net(LINEAR)
    proto.graph.output[0].ClearField("type")
    assert [str(spec) for spec in session.create(proto).outputs] == ["y: float32 [N, 2]"]


def test_without_optimization_every_node_runs(tmp_path: Path) -> None:
    text = "g (float[N] x) => (float[N] y) <float one = {1}> { a = Neg (x) b = Identity (a) y = Mul (b, one) }"
    kinds = {}
    for optimize in (True, False):
        loaded = session.create(net(text), optimize=optimize, profile=tmp_path / str(optimize))
        loaded.run({"x": np.ones(2, np.float32)})
        events = json.loads(loaded.end_profiling().read_text())
        kinds[optimize] = [event["args"]["op_name"] for event in events if event["cat"] == "Node"]
    assert kinds[False] == ["Neg", "Identity", "Mul"]
    assert "Identity" not in kinds[True]


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({}, "input 'x' is missing; the model takes x: float32"),
        ({"x": np.zeros((2, 3))}, "has type float64; the model takes x: float32"),
        ({"x": np.zeros((2, 4), np.float32)}, r"has shape \[2, 4\]; the model takes x: float32 \[N, 3\]"),
        ({"x": np.zeros(3, np.float32)}, r"has shape \[3\]"),
    ],
)
def test_inputs_that_do_not_match_are_named(feeds: dict[str, np.ndarray], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        session.create(net(LINEAR)).run(feeds)


def test_scalars_strings_and_no_inputs() -> None:
    text = """g (float d, string[N] s, bool b) => (float e, string[N] t, bool c) {
      e = Neg (d) t = Identity (s) c = Not (b) }"""
    found = session.create(net(text)).run({"d": np.float32(3), "s": np.array(["a", "bb"]), "b": np.array(True)})
    assert (found["e"], found["t"].tolist(), found["c"]) == (np.float32(-3), ["a", "bb"], np.False_)
    empty = net("g () => (float[1] y) { y = Constant <value = float[1] {2}> () }")
    assert session.create(empty).run({})["y"] == [2]


def test_a_transposed_array_keeps_its_values() -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2).T
    found = session.create(net("g (float[2,3] x) => (float[2,3] y) { y = Neg (x) }")).run({"x": x})
    np.testing.assert_array_equal(found["y"], -x)


def test_maps_become_a_matrix_with_a_column_per_key_in_their_order() -> None:
    found = session.create(net(ZIPMAP)).run({"p": np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], np.float32)})
    np.testing.assert_allclose(found["scores"], [[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], rtol=1e-6)


def test_sequences_become_numbered_arrays() -> None:
    text = "g (float[N] x) => (seq(float[N]) y) { n = Neg (x) y = SequenceConstruct (x, n) }"
    found = session.create(net(text)).run({"x": np.ones(2, np.float32)})
    assert {name: array.tolist() for name, array in found.items()} == {"y[0]": [1, 1], "y[1]": [-1, -1]}


def test_a_branch_runs() -> None:
    loaded = session.create(net(BRANCHES))
    x = np.array([[-1, 2, -3, 4]], np.float32)
    assert loaded.run({"x": x, "c": np.array(True)})["y"].tolist() == [[-0.0, -2, -0.0, -4]]
    assert loaded.run({"x": x, "c": np.array(False)})["y"].tolist() == [[1, 2, 3, 4]]
