from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import specs
from tests.compiler.runtime.nets import BRANCHES, net

WEIGHT = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
TEXT = """g (float[{batch},3] x) => (float[{batch},4] y) {{
  a = MatMul (x, w)
  b = Add (a, bias)
  y = Relu (b)
}}"""
BIAS = np.arange(4, dtype=np.float32)
ROWS = np.random.default_rng(1).standard_normal((10, 3)).astype(np.float32)


def model(batch: str = "N") -> Model:
    return Model.from_proto(net(TEXT.format(batch=batch), w=WEIGHT, bias=BIAS))


@pytest.mark.parametrize("batch", ["N", "4"])
def test_values_between_fused_nodes_are_those_computed_by_hand(batch: str) -> None:
    captured = model(batch)
    capture = Capture(captured, ["x", "a", "b", "y"])
    found = list(capture.batches(load({"x": ROWS}, specs(captured).inputs), 4))
    assert [len(arrays["a"]) for arrays in found] == [4, 4, 2]
    joined = {name: np.concatenate([arrays[name] for arrays in found]) for name in capture.names}
    np.testing.assert_array_equal(joined["x"], ROWS)
    np.testing.assert_allclose(joined["a"], ROWS @ WEIGHT, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(joined["b"], ROWS @ WEIGHT + BIAS, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(joined["y"], np.maximum(joined["b"], 0))


def test_inputs_alone_are_captured_without_a_run() -> None:
    (arrays,) = Capture(model(), ["x"]).batches(load({"x": ROWS}, specs(model()).inputs), 10)
    assert list(arrays) == ["x"]
    np.testing.assert_array_equal(arrays["x"], ROWS)


def test_the_order_is_that_of_the_names_and_each_comes_once() -> None:
    capture = Capture(model(), ["y", "a", "y"])
    assert capture.names == ("y", "a")
    arrays = next(capture.batches(load({"x": ROWS}, specs(model()).inputs)))
    assert list(arrays) == ["y", "a"]


def test_the_model_is_unchanged() -> None:
    captured = model()
    before = captured.proto().SerializeToString()
    Capture(captured, ["a"])
    assert captured.proto().SerializeToString() == before
    assert captured.version == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("b", "'b' is in the body of a control-flow node: onnxruntime can't output it"),
        ("nothing", "the model has no tensor 'nothing'"),
    ],
)
def test_names_that_cannot_be_captured_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        Capture(net(BRANCHES), [name])


def test_a_weight_is_not_an_activation() -> None:
    with pytest.raises(ModelError, match="'w' is a weight"):
        Capture(model(), ["w"])
