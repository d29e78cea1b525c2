"""A model is written completely or not at all."""

from __future__ import annotations

import os
import stat

import onnx
import pytest

from onnx_compress.compiler.errors import OutputError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir import model as models
from onnx_compress.compiler.ir.files import save
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text


@pytest.fixture
def model() -> Model:
    return from_text('<ir_version: 10, opset_import: ["": 21]> g (float[4] x) => (float[4] y) { y = Relu (x) }')


def test_twice_the_same_bytes(model, tmp_path):
    model.save(tmp_path / "a.onnx")
    model.save(tmp_path / "b.onnx")
    model.clone().save(tmp_path / "c.onnx")
    assert len({(tmp_path / name).read_bytes() for name in ("a.onnx", "b.onnx", "c.onnx")}) == 1


def test_an_existing_file_is_kept(model, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"a\.onnx exists: choose another name, or overwrite it with --force"):
        model.save(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == b"mine"
    model.save(tmp_path / "a.onnx", force=True)
    assert Model.load(tmp_path / "a.onnx").graph.nodes[0].op == "Relu"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (".", "is a folder"),
        ("gone/a.onnx", "the folder .*gone does not exist"),
        ("file/a.onnx", "can't be written: Not a directory"),
        ("pipe", "is a device or a pipe"),
        ("x" * 300, "can't be written: File name too long"),
    ],
)
def test_a_path_that_can_not_be_written_to(model, tmp_path, target, message):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match=message):
        model.save(tmp_path / target, force=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
def test_nothing_is_left_after_a_failed_write(model, tmp_path, monkeypatch, error):
    (tmp_path / "a.onnx").write_bytes(b"mine")

    def broken(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises((KeyboardInterrupt, MemoryError, OutputError)):
        model.save(tmp_path / "a.onnx", force=True)
    assert os.listdir(tmp_path) == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_bytes() == b"mine"


def test_no_space_is_one_clear_line(model, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.onnx: can't be written: No space left on device$"):
        model.save(tmp_path / "a.onnx")


def test_a_new_file_has_the_usual_permissions(model, tmp_path):
    old = os.umask(0o027)
    try:
        model.save(tmp_path / "a.onnx")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.onnx").stat().st_mode) == 0o640


def test_a_saved_model_is_valid(model, tmp_path):
    model.save(tmp_path / "a.onnx")
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)


def test_replacing_leaves_the_old_file_until_the_end(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with save.replacing(tmp_path / "a") as out:
        out.write(b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("limit", [1 << 31, 100])
def test_what_is_written_and_read_is_counted(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(models, "PROTO_LIMIT", limit)
    weighty = from_text(
        '<ir_version: 10, opset_import: ["": 21]> g (float[64] x) => (float[64] y) <float[64,64] w> '
        "{ y = MatMul (x, w) }"
    )
    written = weighty.save(tmp_path / "a.onnx")
    assert written == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == (2 if limit == 100 else 1)
    loaded = Model.load(tmp_path / "a.onnx")
    assert loaded.disk_bytes == written
    assert (weighty.disk_bytes, loaded.clone().disk_bytes) == (None, None)
    edit.touch(loaded)
    assert loaded.disk_bytes is None
    packed = weighty.save(tmp_path / "a.ocz")
    assert packed == (tmp_path / "a.ocz").stat().st_size == Model.load(tmp_path / "a.ocz").disk_bytes
