from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.shapes.inference import UNKNOWN, Shapes, ValueType, _without_weights, infer, merged
from tests.compiler.runtime.nets import BRANCHES, net

FLOAT = np.dtype(np.float32)
CUSTOM = (
    '<ir_version: 10, opset_import: ["" : 21, "com.x" : 1]> '
    "g (float[N,4] x) => (float[N,4] y) { a = Relu (x) z = com.x.Frob (a) b = Neg (z) y = Relu (b) }"
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> object:
    """No source of shapes may leave a file behind or write to the terminal."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_shapes_follow_computed_shapes() -> None:
    text = """g (float[N,6,H] x) => (y)
    <int64[1] two = {2}, int64[1] zero = {0}, int64[1] rest = {-1}> {
      s = Shape (x)
      n = Gather (s, zero)
      to = Concat <axis = 0> (n, two, rest)
      y = Reshape (x, to)
    }"""
    found = infer(net(text))
    assert found.shape("y") == ("N", 2, "3*H")
    assert found.shape("s") == (3,)
    assert found.dtype("s") == np.int64
    assert found.notes == ()


def test_bodies_are_included() -> None:
    found = infer(net(BRANCHES))
    assert {name: found.shape(name) for name in "abdy"} == dict.fromkeys("abdy", ("N", 4))


def test_inputs_keep_the_models_dimension_names() -> None:
    text = "g (float[?,6,T] x, float[?,6,T] q) => (float[?,6,T] y) { y = Add (x, q) }"
    found = infer(net(text))
    assert found.shape("x") == (None, 6, "T")
    assert found.shape("y")[1:] == (6, "T")  # type: ignore[index]


def test_names_generated_by_onnx_are_dropped() -> None:
    text = """<ir_version: 10, opset_import: ["" : 21, "com.x" : 1]>
    g (float[N,6,H] x) => (y) <int64[1] two = {2}, int64[1] zero = {0}, int64[1] rest = {-1}> {
      odd = com.x.Frob (x)
      s = Shape (x)
      n = Gather (s, zero)
      to = Concat <axis = 0> (n, two, rest)
      y = Reshape (x, to)
    }"""
    assert infer(net(text)).shape("y") == ("N", 2, None)


def test_an_unknown_operator_is_a_note_and_the_rest_is_inferred() -> None:
    found = infer(net(CUSTOM))
    assert found.shape("a") == ("N", 4)
    assert found.shape("z") is None
    assert found.shape("y") == ("N", 4)
    assert found.notes == ("onnxruntime's symbolic inference stopped: unknown operator",)


SELECTED = """g (float[N,4] x, bool[3] which) => (y) <int64[3] dims = {0, -1, 1}> {
  to = Compress <axis = 0> (dims, which)
  a = Reshape (x, to)
  y = Neg (a)
}"""


def test_running_fills_the_gaps_of_inference() -> None:
    asked, seen = infer(net(SELECTED)), infer(net(SELECTED), by_running=True)
    assert (asked.shape("a"), asked.shape("y")) == (None, None)
    assert (seen.shape("a"), seen.shape("y")) == ((1, 4, 1), (1, 4, 1))
    assert seen.dtype("a") == FLOAT
    assert seen.shape("x") == ("N", 4)  # known shapes are not replaced by observed ones


def test_a_model_that_does_not_run_keeps_what_was_inferred() -> None:
    found = infer(net(CUSTOM), by_running=True)
    assert found.shape("a") == ("N", 4)
    assert found.notes[-1].startswith("running the model stopped: ")


def test_shapes_are_an_analysis() -> None:
    assert Shapes.of(Model.from_proto(net(BRANCHES))).shape("y") == ("N", 4)


def large_net() -> Model:
    weight, scale = np.ones((500, 500), np.float32), np.ones((600, 500), np.float32)
    text = """g (bool c, float[N,500] x) => (float[N,600] y) <int64[2] to = {-1, 500}> {
      a = MatMul (x, w)
      b = Reshape (a, to)
      t = Transpose <perm = [1, 0]> (held)
      y = If (c) <then_branch = f () => (float[N,600] p) { p = MatMul (b, t) },
                  else_branch = g2 () => (float[N,600] q) { m = MatMul (b, t) q = Neg (m) }>
    }"""
    proto = net(text, w=weight)
    held = helper.make_node("Constant", [], ["held"], value=onnx.numpy_helper.from_array(scale))
    proto.graph.node.insert(0, held)
    return Model.from_proto(proto)


def test_large_weights_are_used_without_their_values() -> None:
    model = large_net()
    proto = _without_weights(model)
    assert proto.ByteSize() < 3000
    found = infer(model)
    assert (found.shape("w"), found.dtype("w")) == ((500, 500), FLOAT)
    assert (found.shape("held"), found.shape("b"), found.shape("y")) == ((600, 500), ("N", 500), ("N", 600))
    assert found.notes == ()


def test_warnings_of_the_library_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    text = """g (float[N,4] x, float[M,4] q) => (y) <int64[1] zero = {0}> {
      s = Shape (q)
      m = Gather (s, zero)
      y = Slice (x, zero, m, zero)
    }"""
    assert infer(net(text)).shape("y") is not None
    assert not caplog.records


def test_a_chain_of_resizes_ends_and_keeps_simple_dimensions() -> None:
    resizes = " ".join(f"r{i + 1} = Resize (r{i}, , scales)" for i in range(12))
    text = f"g (float[N,3,H,W] r0) => (y) <float[4] scales = {{1, 1, 0.7, 2}}> {{ {resizes} y = Neg (r12) }}"
    found = infer(net(text))
    shape = found.shape("y")
    assert shape is not None
    assert shape[:2] == ("N", 3)
    assert shape[3] == "4096*W"
    assert found.notes == ()


@pytest.mark.parametrize(
    ("known", "other", "expected"),
    [
        ((None, "N", 3), (4, 5, 6), (4, 5, 3)),
        ((None, "N"), ("M", "M"), ("M", "N")),
        (None, (1, 2), (1, 2)),
        ((1, 2), None, (1, 2)),
        ((1, 2), (1, 2, 3), (1, 2)),
    ],
)
def test_a_number_beats_a_name_and_a_name_beats_nothing(known: object, other: object, expected: object) -> None:
    assert merged(ValueType(FLOAT, known), ValueType(None, other)) == ValueType(FLOAT, expected)  # type: ignore[arg-type]


def test_the_unknown_is_filled() -> None:
    assert merged(UNKNOWN, ValueType(FLOAT, ("N",))) == ValueType(FLOAT, ("N",))
