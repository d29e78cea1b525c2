"""Stored weights in models: external data, clones, and limits on decoding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir import model as model_module
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.files import decode
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.store import store_as, store_dense
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.storage.forms.choice import FORMS, written
from onnx_compress.compiler.storage.weight import WeightValues

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,96] x) => (float[N,96] y) <float[96,96] a, float[96,96] b> { h = MatMul (x, a) y = MatMul (h, b) }"""


def stored(form: str = "packed") -> Model:
    """A model with both weights stored in the given form."""
    model = from_text(TEXT)
    rng = np.random.default_rng(0)
    kind = next(one for one in FORMS if one.name == form)
    for constant in list(model.constants()):
        values = rng.choice(rng.standard_normal(9), (96, 96)) * (rng.random((96, 96)) < 0.4)
        edit.replace_values(model, constant, values.astype(np.float32))
        program = written(kind, WeightValues(constant.values), constant.name, constant.name * 2, 17)
        store_as(model, {constant.name: constant}, program)
    return model


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


def test_shared_parts_of_programs_are_written_once():
    names = [tensor.name for tensor in stored().proto().graph.initializer]
    assert len(names) == len(set(names))
    assert model_of_one().file_bytes() * 2 > stored().file_bytes() + 200


def model_of_one() -> Model:
    model = stored()
    store_dense(model, next(model.constants()))
    edit.replace_values(model, next(model.constants()), np.zeros((1, 1), np.float32))
    return model


def test_the_checker_and_shape_inference_accept_it():
    for form in ("packed", "gaps", "bitmask"):
        onnx.checker.check_model(stored(form).proto(), full_check=True)


def test_a_small_file_can_not_force_unlimited_decoding(monkeypatch):
    proto = stored().proto()
    monkeypatch.setattr(decode, "MAX_BYTES", 1 << 12)
    monkeypatch.setattr(decode, "MOST_TIMES", 1)
    model = Model.from_proto(proto)
    assert not any(isinstance(constant.stored, EncodedTensor) for constant in model.constants())
    assert model.proto().SerializeToString() == proto.SerializeToString()


def test_a_renamed_weight_is_decoded_under_its_new_name():
    model = stored()
    constant = next(model.constants())
    constant.name = "renamed"
    assert np.array_equal(outputs(model), outputs(stored()))
    assert {c.name for c in Model.from_proto(model.proto()).constants()} == {"renamed", "b"}
