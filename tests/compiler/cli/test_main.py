"""The entry point: the command for each first word, and how errors are reported."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest

from onnx_compress.compiler.cli import compress as compressing
from onnx_compress.compiler.cli import main as door
from onnx_compress.compiler.cli.main import COMMANDS, main
from onnx_compress.compiler.errors import PassError
from onnx_compress.compiler.ir.model import Model
from tests.small_models import small_model

ROOT = Path(__file__).parents[3]


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    path = tmp_path / "in.onnx"
    small_model("tied").save(path)
    return path


def error_of(capsys) -> str:
    """The error on stderr, which must be one line of ours, with nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"onnx-compress: (error: )?[^\n]+\n", err)
    return err


def files() -> dict[Path, bytes]:
    """All files here except those that onnxruntime writes to the cache folder when first loaded."""
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.parts[0] != ".cache"}


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_agrees_with_the_list(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"Usage: onnx-compress {name}" in capsys.readouterr().out


def test_help_of_the_main_command_lists_its_options(capsys):
    assert main(["in.onnx", "--help"]) == 0
    text = capsys.readouterr().out
    options = "passes recipe output data eval metric max-drop seed threads latency-table exclude opset portable dry-run"
    assert all(f"--{option}" in text for option in [*options.split(), "report", "raw", "force"])
    assert all(f"-{short}," in text for short in "poqv")


def test_no_arguments_show_the_help_and_are_an_error(capsys):
    assert main([]) == 2
    assert "Usage" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"onnx-compress \d+\.\d+.*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("absent.onnx -p simplify -o out.onnx", "absent.onnx: there is no such file"),
        ("pases", "did you mean the command 'passes'?"),
        ("in.onnx", "-p SPEC"),
        ("in.onnx -p simplify", "-o OUT.onnx"),
        ("in.onnx -p simplify --recipe r.toml -o out.onnx", "either -p SPEC or --recipe FILE"),
        ("in.onnx -p simplfy -o out.onnx", "did you mean 'simplify'?"),
        ("in.onnx -p simplify:no=1 -o out.onnx", "simplify has no option 'no'"),
        ("in.onnx -p simplify -o in.onnx", "in.onnx is the input"),
        ("in.onnx -p simplify -o ./in.onnx", "in.onnx is the input"),
        ("in.onnx -p simplify -o there.onnx", "there.onnx exists"),
        ("in.onnx -p simplify -o nowhere/out.onnx", "the folder nowhere does not exist"),
        ("in.onnx -p simplify -o .", "is a folder"),
        ("in.onnx -p simplify -o out.onnx --report out.txt", "must end in .json or .html"),
        ("in.onnx -p simplify -o out.onnx --report nowhere/out.json", "the folder nowhere does not exist"),
        ("in.onnx -p simplify -o out.json --report out.json", "need different names"),
        ("in.onnx -p simplify -o out.onnx --report a.json --report ./a.json", "need different names"),
        ("in.onnx -p simplify -o out.onnx --exclude nope*", "no layer matches 'nope*'"),
        ("in.onnx -p simplify -o out.onnx --max-drop nan", "--max-drop"),
        ("in.onnx -p simplify -o out.onnx --max-drop -1", "--max-drop"),
        ("in.onnx -p simplify -o out.onnx --threads 0", "--threads"),
        ("in.onnx -p simplify -o out.onnx --metric nope", "metric 'nope'"),
        ("in.onnx -p simplify -o out.onnx --data absent.npz", "absent.npz: there is no such file"),
        ("in.onnx -p simplify -o out.onnx --nope", "--nope"),
        ("in.onnx -p simplify -o out.onnx extra", "extra"),
        ("text.onnx -p simplify -o out.onnx", "text.onnx"),
        ("--report", "--report"),
        ("passes nope", "no pass is called 'nope'"),
        ("passes simplify --markdown", "leave out the name"),
        ("inspect absent.onnx", "absent.onnx: there is no such file"),
        ("verify in.onnx", "'B'"),
        ("verify in.onnx in.onnx --tolerance nan", "--tolerance"),
        ("verify in.onnx other.onnx", "other.onnx and in.onnx take different inputs"),
        ("bench", "A [B ...]"),
        ("bench in.onnx absent.onnx", "absent.onnx: there is no such file"),
        ("zoo nope", "'nope'"),
    ],
)
def test_a_mistake_is_one_clear_line_and_writes_nothing(arguments, said, model, capsys):
    Path("text.onnx").write_text("this is not a model\n")
    Path("there.onnx").write_text("something precious")
    small_model("separable").save("other.onnx")
    before = files()
    assert main(arguments.split()) == 2
    assert said in error_of(capsys)
    assert files() == before


def test_a_command_wins_over_a_file_of_its_name(model, capsys):
    model.rename("passes")
    assert main(["passes"]) == 0
    assert "simplify" in capsys.readouterr().out
    assert main(["./passes", "-p", "simplify", "--dry-run"]) == 0
    assert "1. simplify" in capsys.readouterr().out


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


RUN = ["in.onnx", "-p", "simplify", "-o", "out.onnx"]


def test_ctrl_c_is_130(model, monkeypatch, capsys):
    monkeypatch.setattr(compressing, "_compressed", raising(KeyboardInterrupt()))
    assert main(RUN) == 130
    assert error_of(capsys) == "onnx-compress: interrupted\n"


def test_our_own_fault_leaves_a_reproducer(model, monkeypatch, capsys):
    monkeypatch.setattr(compressing, "_compressed", raising(ZeroDivisionError("one\ntwo")))
    assert main(RUN) == 1
    said = error_of(capsys)
    assert "ZeroDivisionError: one two" in said
    assert "out.failure.txt" in said
    story = Path("out.failure.txt").read_text()
    assert "Traceback" in story
    assert "onnx-compress in.onnx -p simplify -o out.onnx" in story
    assert not Path("out.onnx").exists()


def test_a_failed_pass_leaves_the_last_good_model(model, monkeypatch, capsys):
    error = PassError("prune-channels: it broke", pass_name="prune-channels")
    error.last_good = small_model("tied")
    monkeypatch.setattr(compressing, "_compressed", raising(error))
    assert main(RUN) == 1
    said = error_of(capsys)
    assert "fault: prune-channels: it broke; what reproduces it is in out.partial.onnx and out.failure.txt" in said
    assert Model.load("out.partial.onnx").opset == 21


def test_a_fault_without_an_output_goes_to_the_current_folder(model, monkeypatch, capsys):
    monkeypatch.setattr(Model, "load", raising(RuntimeError("broken")))
    assert main(["inspect", "in.onnx"]) == 1
    assert "onnx-compress.failure.txt" in error_of(capsys)
    assert "RuntimeError: broken" in Path("onnx-compress.failure.txt").read_text()


def test_a_fault_while_importing_a_command_is_ours_too(model, monkeypatch, capsys):
    monkeypatch.setattr(door.importlib, "import_module", raising(ImportError("no such thing")))
    assert main(["bench", "in.onnx"]) == 1
    assert "ImportError: no such thing" in error_of(capsys)


def test_the_status_of_a_command_is_returned(monkeypatch, capsys):
    def three() -> int:
        return 3

    def leave() -> None:
        sys.exit(3)

    for callback in (three, leave):
        monkeypatch.setattr(door, "_command", lambda given, f=callback: (click.Command("x", callback=f), []))
        assert main(["x"]) == 3


def start(*arguments: str, cwd: Path, **rest) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "onnx_compress", *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **rest)


def test_the_package_runs_as_a_module(model):
    process = start("in.onnx", "-p", "no-such-pass", "-o", "out.onnx", cwd=model.parent)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(b"onnx-compress: error: no pass is called 'no-such-pass'")


def test_a_closed_pipe_is_not_an_error(model):
    process = start("inspect", str(model), cwd=model.parent)
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, b"")
    process.stderr.close()


def test_a_real_interrupt_leaves_nothing_behind(model):
    (model.parent / "slow.py").write_text(
        "import time, numpy as np\ndef feed():\n    open('started', 'w').close()\n    time.sleep(30)\n    yield {}\n"
    )
    process = start("in.onnx", "-p", "simplify", "-o", "out.onnx", "--data", "slow:feed", cwd=model.parent)
    deadline = time.monotonic() + 20
    while not (model.parent / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, b"onnx-compress: interrupted\n")
    assert not list(model.parent.glob("*out*"))


def test_help_and_mistakes_import_no_heavy_library(model):
    code = (
        "import sys; from onnx_compress.compiler.cli.main import main; main(['--help']); main(['absent.onnx']);"
        "print([m for m in ('onnx', 'onnxruntime', 'numpy', 'rich', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_main_command(model, capsys):
    np.savez("data.npz", x=np.random.default_rng(0).normal(size=(40, 32)).astype(np.float32))
    reports = ["--report", "r.json", "--report", "r.html"]
    assert main([*RUN, "--data", "data.npz", *reports]) == 0
    out, err = capsys.readouterr()
    assert "in.onnx → out.onnx" in out
    assert out.rstrip().endswith("held-out samples.")
    assert err == ""
    assert Model.load("out.onnx").outputs()[0].name == "y"
    assert Path("r.json").read_text().startswith('{\n  "input"')
    assert "<h2>Layers</h2>" in Path("r.html").read_text()
    first = Path("out.onnx").read_bytes()
    assert main([*RUN, "--data", "data.npz", "--force", "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("out.onnx").read_bytes() == first
