from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.in_memory import hand_over
from onnx_compress.compiler.runtime.session import create

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,32] x) => (float[N,32] y) <float[32,32] w, float[32] small, float[64,64] unread, float16[32,32] half>
{ h = MatMul (x, w) c = Cast <to = 1> (half) i = MatMul (h, c) y = Add (i, small) }"""
FEEDS = {"x": np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)}


def weight(model, name):
    return next(constant.values for constant in model.constants() if constant.name == name)


def test_large_weights_are_passed_by_reference_and_the_message_is_small():
    model = from_text(TEXT)
    made = hand_over(model)
    assert set(made.weights) == {"w", "half"}  # not the small one, and not what nobody reads
    assert len(made.source) < 20_000 < model.file_bytes()
    for name, value in made.weights.items():
        np.testing.assert_array_equal(value.numpy(), weight(model, name))


def test_the_array_of_a_weight_is_not_copied():
    model = from_text(TEXT)
    constant = next(c for c in model.constants() if c.name == "w")
    edit.replace_values(model, constant, np.ones((32, 32), np.float32))
    assert any(np.shares_memory(array, constant.values) for array in hand_over(model).arrays)


def test_the_model_computes_the_same_either_way():
    model = from_text(TEXT)
    a = create(model).run(FEEDS)["y"]
    b = create(model.proto()).run(FEEDS)["y"]
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("as_message", [False, True])
def test_inner_values_become_outputs(as_message):
    model = from_text(TEXT)
    before = model.proto()
    given = model.proto() if as_message else model
    found = create(given, outputs=["h"], optimize=False).run(FEEDS)
    np.testing.assert_allclose(found["h"], FEEDS["x"] @ weight(model, "w"), rtol=1e-4, atol=1e-5)
    assert model.proto() == before
    assert not as_message or given == before


def test_a_path_is_opened_by_onnxruntime_itself(tmp_path):
    from_text(TEXT).save(tmp_path / "model.onnx")
    assert hand_over(tmp_path / "model.onnx").source == str(tmp_path / "model.onnx")
    assert isinstance(hand_over(tmp_path / "model.onnx", ["h"]).source, bytes)


def test_a_message_whose_weights_lie_elsewhere_is_refused():
    proto = from_text(TEXT).proto()
    proto.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    name = proto.graph.initializer[0].name
    with pytest.raises(ModelError, match=f"initializer '{name}' has its data in another file.*pass the path"):
        hand_over(proto)
