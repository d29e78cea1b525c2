"""A model above 2 GiB: loaded, changed and saved in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from models import big
from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.model import Model

ROOT = Path(__file__).parents[3]
MEBIBYTE = 1 << 20

JOB = """
import pathlib, sys
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
model = Model.load(sys.argv[1]).clone()
model.skeleton()
edit.sweep(model)
model.save(sys.argv[2])
lines = pathlib.Path("/proc/self/status").read_text().splitlines()  # getrusage would count the parent's memory too
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_load_clone_edit_save_in_little_memory(tmp_path):
    source = big.write(tmp_path / "big.onnx")
    target = tmp_path / "out.onnx"
    command = [sys.executable, "-c", JOB, str(source), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300 * 1024, "kB of resident memory; the weights are 2,621,440"
    (tmp_path / "big.onnx.data").unlink()
    onnx.checker.check_model(target)
    assert target.stat().st_size < MEBIBYTE
    assert (tmp_path / "out.onnx.data").stat().st_size >= 5 * 2**29
    (tmp_path / "out.onnx.data").unlink()  # pytest would keep it


def test_it_is_not_a_single_message(tmp_path):
    model = Model.load(big.write(tmp_path / "big.onnx"))
    with pytest.raises(ModelError, match="exceed 2 GiB"):
        model.proto()


def test_a_file_too_large_for_protobuf_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(ModelError, match="exceeds 2 GiB"):
        Model.load(path)
