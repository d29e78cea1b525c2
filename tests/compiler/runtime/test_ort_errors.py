from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.errors import DataError, ModelError
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.ort_errors import explain, plain
from tests.compiler.runtime.nets import HEAD, net

OLD = '<ir_version: 8, opset_import: ["" : 17]> '

UNLOADABLE = {
    "unknown operator": (
        OLD + "g (float[N,3] x) => (float[N,3] y) { [n1] y = Frobnicate (x) }",
        "node 'n1': opset 17 has no operator Frobnicate",
    ),
    "unknown domain": (
        '<ir_version: 8, opset_import: ["" : 17, "foo.bar" : 1]> '
        "g (float[N,3] x) => (float[N,3] y) { y = foo.bar.Relu (x) }",
        "the operator Relu of the domain 'foo.bar' is unknown to onnxruntime",
    ),
    "opset too new": (
        '<ir_version: 8, opset_import: ["" : 99]> g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }',
        "opset 99 of ai.onnx is newer than the",
    ),
    "IR version too new": (
        '<ir_version: 99, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }',
        "IR version 99 is newer than the",
    ),
    "types disagree": (
        OLD + "g (float[N,3] x, int64[3] z) => (float[N,3] y) { [n1] y = Add (x, z) }",
        "bound to different types (tensor(float) and tensor(int64) in node (n1)",
    ),
    "no kernel": (
        OLD + "g (bfloat16[N,3] x) => (bfloat16[N,3] y) { [n1] y = Relu (x) }",
        "node 'n1': onnxruntime",
    ),
    "cycle": (
        OLD + "g (float[N,3] x) => (float[N,3] y) { y = Add (x, z) z = Relu (y) }",
        "not acyclic",
    ),
    "undefined value": (
        OLD + "g (float[N,3] x) => (float[N,3] y) { y = Add (x, z) }",
        "Node input 'z' is not a graph input",
    ),
    "shapes disagree": (
        OLD + "g (float[N,3] x) => (float[N,2] y) <float[2,2] w = {1, 2, 3, 4}> { [n1] y = MatMul (x, w) }",
        "(n1) Op (MatMul)",
    ),
}


@pytest.mark.parametrize("case", UNLOADABLE)
def test_a_model_that_does_not_load_is_explained_in_one_line(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    text, expected = UNLOADABLE[case]
    with pytest.raises(ModelError) as caught:
        session.create(net(text))
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert "onnxruntime_src" not in message
    assert "::" not in message
    assert "ONNXRuntimeError" not in message
    assert capfd.readouterr().err == ""


def test_a_node_that_fails_is_named_and_nothing_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    loaded = session.create(net('g (float[N,3] x, int64[2] s) => (float[?,?] y) { ["shape it"] y = Reshape (x, s) }'))
    with pytest.raises(ModelError, match=r"node 'shape it' \(Reshape\): .*requested shape:\{4,4\}"):
        loaded.run({"x": np.zeros((2, 3), np.float32), "s": np.array([4, 4])})
    assert capfd.readouterr().err == ""


def test_an_index_out_of_range_is_the_models_failure() -> None:
    text = 'g (int64[N] i) => (float[N] y) <float[3] t = {1, 2, 3}> { ["look up"] y = Gather (t, i) }'
    with pytest.raises(ModelError, match="look up"):
        session.create(net(text)).run({"i": np.array([7])})


def test_a_wrong_declared_output_shape_does_not_warn(capfd: pytest.CaptureFixture[str]) -> None:
    loaded = session.create(net("g (float[N,3] x) => (float[N,4] y) { y = Relu (x) }"))
    loaded.run({"x": np.zeros((2, 3), np.float32)})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : /a/b/model.cc:256 onnxruntime::Model::Model(onnx::P&&, const "
            "std::f<void(int)>*) Something is odd",
            "Something is odd",
        ),
        ("x.h:91 a::B::C(const S&, bool) size == size was false. Bad shape", "size == size was false. Bad shape"),
        (
            "gemm.h:12 virtual common::Status onnxruntime::Gemm<T>::Compute(K*) const [with T = float] No memory",
            "No memory",
        ),
        ("Load model from m.onnx failed:It\n is   odd", "It is odd"),
        ("nothing to strip", "nothing to strip"),
    ],
)
def test_the_kept_part_of_a_message(message: str, expected: str) -> None:
    assert plain(message) == expected


def test_a_long_message_is_cut() -> None:
    assert len(explain(RuntimeError("a" * 5000))) == 300


def test_an_input_of_a_type_that_numpy_lacks() -> None:
    loaded = session.create(net(HEAD + "g (bfloat16[N] x) => (float[N] y) { y = Cast <to = 1> (x) }"))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16)
    with pytest.raises((ModelError, DataError), match="can't exchange with NumPy"):
        loaded.run({"x": np.zeros(2, dtype)})
