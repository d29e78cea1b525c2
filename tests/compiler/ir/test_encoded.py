"""Stored weights in models: external data, clones, and limits on decoding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir import model as model_module
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.store import store_dense
from onnx_compress.compiler.runtime import session
from tests.compiler.ir.stored_weights import stored


def outputs(model) -> np.ndarray:
    return session.create(model).run({"x": np.ones((2, 96), np.float32)})["y"]


@pytest.mark.parametrize("form", ["packed", "gaps", "codebook", "bitmask"])
def test_a_file_with_external_data(form, tmp_path, monkeypatch):
    model = stored(form)
    monkeypatch.setattr(model_module, "PROTO_LIMIT", 1000)
    model.save(tmp_path / "big.onnx")
    assert (tmp_path / "big.onnx.data").exists()
    loaded = Model.load(tmp_path / "big.onnx")
    assert all(isinstance(constant.stored, EncodedTensor) for constant in loaded.constants())
    assert np.array_equal(outputs(loaded), outputs(model))
    assert np.array_equal(outputs(tmp_path / "big.onnx"), outputs(model))
    loaded.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx.data").read_bytes() == (tmp_path / "big.onnx.data").read_bytes()


def test_a_changed_clone_leaves_the_original_alone():
    model = stored()
    before = model.proto().SerializeToString()
    twin = model.clone()
    edit.replace_values(twin, next(twin.constants()), np.zeros((96, 96), np.float32))
    assert not outputs(twin).any()
    assert model.proto().SerializeToString() == before
    store_dense(twin, list(twin.constants())[1])
    assert {tensor.name for tensor in twin.proto().graph.initializer} == {"a", "b"}


def test_the_checker_and_shape_inference_accept_it():
    for form in ("packed", "gaps", "bitmask"):
        onnx.checker.check_model(stored(form).proto(), full_check=True)


def test_a_renamed_weight_is_decoded_under_its_new_name():
    model = stored()
    constant = next(model.constants())
    constant.name = "renamed"
    assert np.array_equal(outputs(model), outputs(stored()))
    assert {c.name for c in Model.from_proto(model.proto()).constants()} == {"renamed", "b"}
