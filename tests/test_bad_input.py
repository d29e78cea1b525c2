"""Bad input of every kind: one clear line on stderr, exit status 2, nothing written, nothing overwritten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnx_compress.compiler.cli.main import main
from tests.small_models import small_model

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good model and good data, which is the current one."""
    small_model("tied").save(tmp_path / "in.onnx")
    np.savez(tmp_path / "data.npz", x=np.zeros((8, 32), np.float32), labels=np.zeros(8, np.int64))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused, and gives the line it says."""

    def check(*arguments: str) -> str:
        before = content(folder)
        status = main(arguments)
        out, err = capfd.readouterr()
        assert status == 2, err
        assert len(err.splitlines()) == 1, err
        assert err.startswith("onnx-compress: error: ")
        assert "Traceback" not in out + err
        assert content(folder) == before
        return err

    return check


def job(*more: str, model: str = "in.onnx", passes: str = "simplify", out: str = "out.onnx") -> list[str]:
    return [model, "-p", passes, "-o", out, *more]


def test_the_job_itself_is_fine(folder):
    assert main(job("--data", "data.npz", "-q")) == 0
    assert (folder / "out.onnx").exists()


def edited(folder: Path, change: Callable[[onnx.ModelProto], None]) -> str:
    proto = onnx.load(folder / "in.onnx")
    change(proto)
    (folder / "bad.onnx").write_bytes(proto.SerializeToString())
    return "bad.onnx"


def set_external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def make_cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = proto.graph.node[1].output[0]


def unknown_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[2].op_type = "Rellu"


def unknown_opset(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 999


def nan_weight(proto: onnx.ModelProto) -> None:
    w = np.full((32, 32), np.nan, np.float32)
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(w, "w"))


def wrong_type(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros((32, 32), np.int64), "w"))


def wrong_shape(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros((31, 32), np.float32), "w"))


def short_tensor(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].raw_data = b"\0" * 7


def huge_tensor(proto: onnx.ModelProto) -> None:
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([1 << 20, 1 << 20])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_external("gone.bin"), "'gone.bin' is missing"),
        (set_external("../secret"), "leaves the model's folder"),
        (set_external("/etc/hostname"), "leaves the model's folder"),
        (make_cycle, "cycle through node"),
        (unknown_operator, "Rellu"),
        (unknown_opset, "999"),
        (nan_weight, "'w'"),
        (wrong_type, ""),
        (wrong_shape, ""),
        (short_tensor, "holds 7 bytes where its shape [32, 32] needs 4096"),
        (huge_tensor, "needs 4398046511104"),
        (lambda proto: proto.graph.node[0].input.__setitem__(0, "nothing"), "reads 'nothing'"),
        (lambda proto: proto.ClearField("opset_import"), "declares no opset"),
        (lambda proto: proto.ClearField("graph"), "empty"),
    ],
)
def test_a_bad_model(folder, refused, change, says):
    line = refused(*job(model=edited(folder, change)))
    assert says in line
    assert "bad.onnx" in line


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("cut.onnx", None, "cut.onnx: not an ONNX model, or the file is truncated"),
        ("empty.onnx", b"", "empty.onnx: "),
        ("notes.onnx", b"just some text, not a model at all\n", "notes.onnx: not an ONNX model"),
        ("model.json", b"{}", "model.json: not an ONNX model"),
        ("zip.onnx", b"PK\x03\x04" + bytes(100), "zip.onnx: not an ONNX model"),
    ],
)
def test_a_file_that_is_not_a_model(folder, refused, name, raw, says):
    (folder / name).write_bytes((folder / "in.onnx").read_bytes()[:-100] if raw is None else raw)
    assert says in refused(*job(model=name))


@pytest.mark.parametrize(
    ("model", "says"),
    [("gone.onnx", "there is no such file"), (".", "a folder, not an ONNX model"), ("pipe", "not a regular file")],
)
def test_a_place_without_a_model(folder, refused, model, says):
    os.mkfifo(folder / "pipe")
    assert says in refused(*job(model=model))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"z": np.zeros((8, 32), np.float32)}, "'x'"),
        ({"x": np.zeros((8, 31), np.float32)}, "[8, 31]"),
        ({"x": np.zeros((8, 32, 1), np.float32)}, "[8, 32, 1]"),
        ({"x": np.zeros((8, 32), np.float64)}, "float64"),
        ({"x": np.zeros((0, 32), np.float32)}, "x"),
        ({"x": np.zeros((8, 32), np.float32), "labels": np.zeros(7, np.int64)}, "labels"),
        ({"x": np.zeros((8, 32), np.float32), "more": np.zeros(8)}, "more"),
        ({"x": np.array([{}] * 8, object)}, "x"),
        ({"x": np.full((8, 32), np.nan, np.float32)}, "contain NaN"),
    ],
)
def test_data_that_do_not_fit(folder, refused, arrays, says):
    np.savez(folder / "wrong.npz", **arrays)
    line = refused(*job("--data", "wrong.npz"))
    assert "wrong.npz" in line
    assert says in line


@pytest.mark.parametrize(
    ("name", "raw"), [("gone.npz", None), ("text.npz", b"text"), ("text.npy", b"text"), ("data.csv", b"1,2")]
)
def test_data_that_are_none(folder, refused, name, raw):
    if raw is not None:
        (folder / name).write_bytes(raw)
    assert name in refused(*job("--data", name))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (job(passes="prunne"), "no pass is called 'prunne'; did you mean 'prune'?"),
        (job(passes="prune:ration=0.3"), "has no option 'ration'; did you mean 'ratio'?"),
        (job(passes="prune:ratio=much"), "option 'ratio' takes a number or none, not 'much'"),
        (job(passes="prune:ratio=7"), "option 'ratio' lies between"),
        (job(passes="prune:ratio"), "write 'ratio=…'"),
        (job(passes="simplify,,simplify"), "empty place"),
        (job(passes=""), ""),
        (job("--exclude", "no_such_layer*"), "no_such_layer*"),
        (job("--metric", "no_such_metric"), "no_such_metric"),
        (job("--max-drop", "-1"), "-1"),
        (job("--max-drop", "nan"), "nan"),
        (job("--no-such-option"), "--no-such-option"),
        (job("--report", "report.txt"), "report.txt"),
        (job("--recipe", "gone.toml"), ""),
        (["in.onnx", "--recipe", "gone.toml", "-o", "out.onnx"], "gone.toml"),
        (["in.onnx", "-p", "simplify"], "-o"),
        (["in.onnx", "-o", "out.onnx"], "-p"),
        (["verfy"], "did you mean the command 'verify'?"),
        (["passes", "prunne"], "did you mean 'prune'?"),
        (["verify", "in.onnx", "gone.onnx"], "gone.onnx"),
        (["bench", "gone.onnx"], "gone.onnx"),
        (["inspect", "gone.onnx"], "gone.onnx"),
    ],
)
def test_bad_usage(refused, arguments, says):
    assert says in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[pass]]\nname = 'prunne'", "prunne"),
        ("[[pass]]\nname = 'simplify'\nsped = 1", "sped"),
        ("[setings]\nseed = 1\n[[pass]]\nname = 'simplify'", "setings"),
        ("[settings]\nsead = 1\n[[pass]]\nname = 'simplify'", "sead"),
        ("[[pass]\n", "recipe.toml"),
        ("", "recipe.toml"),
        ("[[pass]]\nname = 'prune'\n[[pass.layers]]\nmatch = 'nothing*'\nratio = 0.1", "nothing*"),
    ],
)
def test_a_bad_recipe(folder, refused, text, says):
    (folder / "recipe.toml").write_text(text)
    assert says in refused("in.onnx", "--recipe", "recipe.toml", "-o", "out.onnx")


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("in.onnx", "is the input"),
        ("./in.onnx", "is the input"),
        ("data.npz", "data.npz exists"),
        ("gone/out.onnx", "does not exist"),
        (".", "is a folder"),
        ("x" * 300, "File name too long"),
        ("/proc/out.onnx", "/proc/out.onnx"),
    ],
)
def test_an_output_that_can_not_be(refused, out, says):
    assert says in refused(*job(out=out))


def test_force_overwrites_the_input(folder):
    before = (folder / "in.onnx").read_bytes()
    missed = 3  # tied layers can't lose half of their MACs: that is said, and the result is written all the same
    assert main(job("--force", "-q", "--data", "data.npz", passes="prune:ratio=0.5", out="in.onnx")) == missed
    assert (folder / "in.onnx").read_bytes() != before
    onnx.checker.check_model(folder / "in.onnx")


def test_a_dry_run_writes_nothing(folder, capfd):
    before = content(folder)
    assert main(["in.onnx", "-p", "prune:ratio=0.5,quantize", "--dry-run"]) == 0
    assert content(folder) == before
    assert "prune-channels" in capfd.readouterr().out


STOPPED = """
import pathlib, time
import numpy as np
def batches():
    pathlib.Path("started").touch()
    time.sleep(60)
    yield {"x": np.zeros((8, 32), np.float32)}
"""


def test_ctrl_c_leaves_nothing(folder):
    (folder / "stopped.py").write_text(STOPPED)
    before = {*os.listdir(folder), "started", "__pycache__"}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    command = [sys.executable, "-m", "onnx_compress", *job("--data", "stopped:batches")]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (folder / "started").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("onnx-compress: interrupted")
    assert "Traceback" not in error
    assert set(os.listdir(folder)) <= before


def test_the_command_line_is_installed(folder):
    done = subprocess.run(
        [sys.executable, "-m", "onnx_compress", *job(model="gone.onnx")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
