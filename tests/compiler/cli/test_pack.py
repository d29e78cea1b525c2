"""`pack` and `unpack` on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.cli.main import main
from onnx_compress.compiler.ir import edit
from tests.small_models import small_model


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small_model("dead_channels").save(tmp_path / "in.onnx")
    return tmp_path


def test_a_model_is_packed_and_unpacked(folder, capsys):
    assert main(["pack", "in.onnx", "-o", "out.ocz"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("in.onnx → out.ocz: ")
    assert "times smaller" in said
    assert main(["unpack", "out.ocz", "-o", "back.onnx"]) == 0
    assert capsys.readouterr().out.startswith("back.onnx: ")
    assert (folder / "back.onnx").read_bytes() == (folder / "in.onnx").read_bytes()
    assert (folder / "out.ocz").stat().st_size < (folder / "in.onnx").stat().st_size


def test_a_packed_model_is_a_model_everywhere(folder, capsys):
    assert main(["pack", "in.onnx", "-o", "in.ocz"]) == 0
    np.savez(folder / "data.npz", x=np.zeros((8, 3, 8, 8), np.float32))
    assert main(["verify", "in.onnx", "in.ocz"]) == 0
    assert main(["inspect", "in.ocz"]) == 0
    assert main(["in.ocz", "-p", "remove-dead-channels", "-o", "small.onnx", "--data", "data.npz", "-q"]) == 0
    assert (folder / "small.onnx").stat().st_size < (folder / "in.onnx").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pack", "in.onnx"], "-o"),
        (["pack", "in.onnx", "-o", "in.onnx"], "is the input"),
        (["pack", "in.onnx", "-o", "in.onnx", "--force"], "is the input"),
        (["pack", "in.onnx", "-o", "there.ocz"], "there.ocz exists"),
        (["pack", "in.onnx", "-o", "gone/out.ocz"], "does not exist"),
        (["pack", "in.onnx", "-o", "x" * 300], "File name too long"),
        (["unpack", "there.ocz", "-o", "x" * 300], "File name too long"),
        (["in.onnx", "-p", "simplify", "-o", "there.ocz"], "there.ocz exists"),
        (["pack", "gone.onnx", "-o", "out.ocz"], "gone.onnx: there is no such file"),
        (["pack", "text", "-o", "out.ocz"], "text: not an ONNX model"),
        (["pack", "there.ocz", "-o", "out.ocz"], "there.ocz is already packed"),
        (["unpack", "in.onnx", "-o", "out.onnx"], "in.onnx: not an .ocz file"),
        (["unpack", "gone.ocz", "-o", "out.onnx"], "gone.ocz: there is no such file"),
        (["unpack", ".", "-o", "out.onnx"], "can't be read"),
        (["unpack", "there.ocz", "-o", "there.ocz", "--force"], "is the input"),
        (["unpack", "there.ocz", "-o", "in.onnx"], "in.onnx exists"),
        (["pack", "in.onnx", "-o", "out.onnx"], "name it out.ocz"),
        (["unpack", "there.ocz", "-o", "out.OCZ"], "name it out.onnx"),
        (["unpack", "cut.ocz", "-o", "out.onnx"], "cut.ocz: the file is truncated"),
        (["inspect", "cut.ocz"], "cut.ocz: the file is truncated"),
    ],
)
def test_bad_usage_is_one_line(folder, capsys, arguments, says):
    assert main(["pack", "in.onnx", "-o", "there.ocz"]) == 0
    (folder / "text").write_text("no model")
    (folder / "cut.ocz").write_bytes((folder / "there.ocz").read_bytes()[:-9])
    capsys.readouterr()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_inspect_shows_the_packed_size(folder, capsys):
    assert main(["pack", "in.onnx", "-o", "out.ocz"]) == 0
    size = (folder / "out.ocz").stat().st_size
    for path in ("in.onnx", "out.ocz"):
        capsys.readouterr()
        assert main(["inspect", path, "--packed", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["packed_bytes"] == size
    assert main(["inspect", "in.onnx", "--packed"]) == 0
    assert f"packed      {size / 1000:.1f} kB with 'pack'" in capsys.readouterr().out


def test_sizes_in_a_report_are_those_of_the_files(folder):
    """Of files whose content is not what we would write, packed or with data files, overwritten or not."""
    proto = small_model("residual").proto()
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, tensor.data_type, values.shape, values.ravel()))
    proto.doc_string = "written in another way"
    onnx.save(proto, "typed.onnx", save_as_external_data=False)
    onnx.save(small_model("residual").proto(), "apart.onnx", save_as_external_data=True, location="d", size_threshold=0)
    assert main(["pack", "typed.onnx", "-o", "typed.ocz"]) == 0
    inputs = {"typed.onnx": ["typed.onnx"], "apart.onnx": ["apart.onnx", "d"], "typed.ocz": ["typed.ocz"]}
    for name, files in inputs.items():
        before = sum((folder / file).stat().st_size for file in files)
        out = name if name == "typed.onnx" else "out.onnx"
        job = [name, "-p", "encode", "--raw", "-o", out, "--force", "-q", "--report", "r.json"]
        assert main(job) == 0
        found = json.loads((folder / "r.json").read_text())
        assert (found["input"]["bytes"], found["output"]["bytes"]) == (before, (folder / out).stat().st_size)


def test_the_main_command_writes_a_packed_model_of_plain_weights(folder, capsys):
    """As small as `pack --plain` of the encoded model, up to the order of weights; `pack` prints more."""
    model = small_model("residual")
    weights = [node.inputs[1] for node in model.nodes() if node.op == "Conv"]
    for weight in weights:
        edit.replace_values(model, weight, np.sign(weight.values) * (np.abs(weight.values) > 0.5))
    model.save("few.onnx")
    assert main(["few.onnx", "-p", "encode", "-o", "few.ocz", "--report", "r.json"]) == 0
    said = capsys.readouterr().out
    size = (folder / "few.ocz").stat().st_size
    found = json.loads((folder / "r.json").read_text())
    assert found["output"]["packed_bytes"] == found["output"]["bytes"] == size
    assert found["input"]["bytes"] == (folder / "few.onnx").stat().st_size
    assert re.search(rf"packed +[\d.]+ kB +{size / 1000:.2f} kB", said)
    assert re.search(rf"file size +[\d.]+ kB +{size / 1000:.2f} kB", said)
    assert f"few.ocz is {(folder / 'few.onnx').stat().st_size / size:.1f} times smaller than few.onnx" in said
    assert main(["few.onnx", "-p", "encode", "-o", "encoded.onnx", "-q"]) == 0
    assert any(node.op_type == "Gather" for node in onnx.load("encoded.onnx").graph.node)
    assert main(["pack", "encoded.onnx", "-o", "exact.ocz"]) == 0
    assert main(["pack", "encoded.onnx", "--plain", "-o", "plain.ocz"]) == 0
    assert abs((folder / "plain.ocz").stat().st_size - size) < 8 < (folder / "exact.ocz").stat().st_size - size
    for path in ("few.ocz", "plain.ocz"):
        assert main(["verify", path, "few.onnx", "--tolerance", "0"]) == 0
    assert main(["unpack", "few.ocz", "-o", "back.onnx"]) == 0
    assert not any(node.op_type == "Gather" for node in onnx.load("back.onnx").graph.node)


def test_force_overwrites(folder):
    for _ in range(2):
        assert main(["pack", "in.onnx", "-o", "out.ocz", "--force"]) == 0
        assert main(["unpack", "out.ocz", "-o", "back.onnx", "--force"]) == 0
