"""Packed files unpack to the same model and data files, and load as models."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnx_compress
from onnx_compress.compiler.errors import ModelError, OutputError
from onnx_compress.compiler.ir.files import ocz_file
from onnx_compress.compiler.ir.model import Model
from tests.compiler.ir.everything import everything
from tests.small_models import small_model

W = (np.arange(6000, dtype=np.float32) % 7).reshape(1000, 6)


def with_data(folder: Path, *locations: str) -> Path:
    """A model with its weights in data files, one each."""
    tensors, nodes = [], []
    for index, location in enumerate(locations):
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        (folder / location).write_bytes(b"\0" * 8 + W.tobytes())
        tensor = TensorProto(
            name=f"w{index}", dims=W.shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
        )
        for key, value in {"location": location, "offset": "8", "length": str(W.nbytes)}.items():
            tensor.external_data.add(key=key, value=value)
        tensors.append(tensor)
        nodes.append(helper.make_node("MatMul", ["x", f"w{index}"], [f"y{index}"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1000])
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, 6]) for i in range(len(locations))]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], outputs, tensors))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["residual", "branches", "hidden_weights"])
def test_a_packed_model_loads_like_the_file(name, tmp_path):
    small_model(name).save(tmp_path / "m.onnx")
    ocz_file.pack(tmp_path / "m.onnx", tmp_path / "m.ocz", force=False)
    loaded = onnx_compress.load(tmp_path / "m.ocz")
    assert loaded.path == tmp_path / "m.ocz"
    assert loaded.proto().SerializeToString(deterministic=True) == Model.load(
        tmp_path / "m.onnx"
    ).proto().SerializeToString(deterministic=True)
    onnx_compress.session(tmp_path / "m.ocz")


def test_the_same_bytes_come_back_whatever_wrote_them(tmp_path):
    raw = everything().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(raw)
    ocz_file.pack(tmp_path / "m.onnx", tmp_path / "m.ocz", force=False)
    assert ocz_file.unpack(tmp_path / "m.ocz", tmp_path / "back.onnx", force=False) == [tmp_path / "back.onnx"]
    assert (tmp_path / "back.onnx").read_bytes() == raw


@pytest.mark.parametrize("locations", [("w.bin",), ("a.bin", "sub/b.bin")])
def test_external_data_are_in_the_packed_file(tmp_path, locations):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    path = with_data(before, *locations)
    sizes = ocz_file.pack(path, tmp_path / "m.ocz", force=False)
    assert sizes.original == sum(map(len, content(before).values())) > 100 * sizes.total
    loaded = Model.load(tmp_path / "m.ocz")
    assert [constant.stored.external is not None for constant in loaded.constants()] == [True] * len(locations)
    assert all(np.array_equal(constant.values, W) for constant in loaded.constants())
    written = ocz_file.unpack(tmp_path / "m.ocz", after / "m.onnx", force=False)
    assert content(after) == content(before)
    assert written == [after / name for name in ("m.onnx", *locations)]


def test_a_model_of_several_data_files_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "in").mkdir()
    path = with_data(tmp_path / "in", "a.bin", "b.bin")
    ocz_file.pack(path, tmp_path / "m.ocz", force=False)
    raw = (tmp_path / "m.ocz").read_bytes()
    (tmp_path / "m.ocz").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError):
        ocz_file.unpack(tmp_path / "m.ocz", tmp_path / "out" / "m.onnx", force=False)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("location", ["../w.bin", "/tmp/w.bin", "C:\\w.bin", "sub/../../w.bin"])
def test_data_files_do_not_leave_the_folder(tmp_path, location):
    (tmp_path / "in").mkdir()
    path = with_data(tmp_path / "in", "x" * len(location))
    ocz_file.pack(path, tmp_path / "good.ocz", force=False)
    raw = path.read_bytes().replace(b"x" * len(location), location.encode())
    with (tmp_path / "bad.ocz").open("wb") as out:
        ocz_file.archive.pack(memoryview(raw), lambda _: memoryview(b"\0" * 8 + W.tobytes()), out)
    (tmp_path / "out").mkdir()
    before = content(tmp_path)
    with pytest.raises(ModelError, match="leaves the model's folder"):
        ocz_file.unpack(tmp_path / "bad.ocz", tmp_path / "out" / "m.onnx", force=True)
    with pytest.raises(ModelError, match="leaves the model's folder"):
        Model.load(tmp_path / "bad.ocz")
    assert content(tmp_path) == before


def test_nothing_is_overwritten_without_force(tmp_path):
    path = with_data(tmp_path, "w.bin")
    ocz_file.pack(path, tmp_path / "m.ocz", force=False)
    with pytest.raises(OutputError, match="exists"):
        ocz_file.pack(path, tmp_path / "m.ocz", force=False)
    with pytest.raises(OutputError, match=r"w\.bin exists"):
        ocz_file.unpack(tmp_path / "m.ocz", tmp_path / "other.onnx", force=False)
    with pytest.raises(OutputError, match="is the name of the model's data file"):
        ocz_file.unpack(tmp_path / "m.ocz", tmp_path / "w.bin", force=True)
    ocz_file.unpack(tmp_path / "m.ocz", tmp_path / "m.onnx", force=True)


def test_a_packed_file_is_not_packed_again(tmp_path):
    small_model("tied").save(tmp_path / "m.onnx")
    ocz_file.pack(tmp_path / "m.onnx", tmp_path / "m.ocz", force=False)
    with pytest.raises(ModelError, match="already packed"):
        ocz_file.pack(tmp_path / "m.ocz", tmp_path / "n.ocz", force=False)


@pytest.mark.parametrize("raw", [b"OCZ", b"OCZ\1\0", b"OCZ\1\0\2ab"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, raw):
    (tmp_path / "m.ocz").write_bytes(raw)
    with pytest.raises(ModelError, match=r"m\.ocz: .*truncated") as caught:
        Model.load(tmp_path / "m.ocz")
    assert "\n" not in str(caught.value)


def test_a_packed_file_that_is_not_a_model_is_refused(tmp_path):
    with (tmp_path / "m.ocz").open("wb") as out:
        ocz_file.archive.pack(
            memoryview(onnx.ModelProto(ir_version=8).SerializeToString()), lambda _: memoryview(b""), out
        )
    with pytest.raises(ModelError, match="empty"):
        Model.load(tmp_path / "m.ocz")
