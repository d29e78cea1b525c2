from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.specs import Signature, TensorSpec, runtime_dtype, specs
from tests.compiler.runtime.nets import ZIPMAP, net

F32 = np.dtype(np.float32)


def test_message_model_and_file_have_the_same_signature(tmp_path: Path) -> None:
    text = "g (float[N,3,?] x, int64 n, string[2] s, float d = {1}) => (float16[N] y) { y = Cast <to = 10> (x) }"
    proto = net(text)
    onnx.save(proto, tmp_path / "m.onnx")
    expected = Signature(
        (
            TensorSpec("x", F32, ("N", 3, None)),
            TensorSpec("n", np.dtype(np.int64), ()),
            TensorSpec("s", np.dtype(object), (2,)),
        ),
        (TensorSpec("y", np.dtype(np.float16), ("N",)),),
    )
    assert specs(proto) == specs(Model.from_proto(proto)) == specs(tmp_path / "m.onnx") == expected


def test_an_input_with_a_default_value_is_optional() -> None:
    proto = net("g (float[N] x, float[N] w) => (float[N] y) { y = Add (x, w) }", w=np.ones(1, np.float32))
    assert [spec.name for spec in specs(proto).inputs] == ["x"]


def test_an_undeclared_rank_is_not_a_scalar() -> None:
    proto = net("g (float x) => (float y) { y = Relu (x) }")
    assert specs(proto).inputs[0].shape == ()
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert specs(proto).inputs[0].shape is None


def test_a_negative_dimension_is_free() -> None:
    proto = net("g (float[N] x) => (float[N] y) { y = Relu (x) }")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert specs(proto).inputs[0].shape == (None,)


def test_other_kinds_than_tensors_are_named() -> None:
    spec = specs(net(ZIPMAP)).outputs[0]
    assert (spec.dtype, spec.kind, str(spec)) == (None, "sequence", "scores: sequence")


def test_inputs_in_messages() -> None:
    assert str(TensorSpec("x", F32, ("N", 3, None))) == "x: float32 [N, 3, ?]"
    assert str(TensorSpec("s", np.dtype(object), ())) == "s: string []"
    assert str(TensorSpec("a", F32, None)) == "a: float32 of any shape"


def test_names_of_onnxruntimes_types() -> None:
    assert runtime_dtype("tensor(double)") == np.float64
    assert runtime_dtype("tensor(string)") == np.dtype(object)
    assert runtime_dtype("seq(tensor(float))") is None


def test_a_file_that_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"hello world" * 10)
    with pytest.raises(ModelError, match=r"m\.onnx: not an ONNX model"):
        specs(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"absent\.onnx: there is no such file"):
        specs(tmp_path / "absent.onnx")
