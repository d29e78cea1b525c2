"""Serializing in pieces gives the same bytes as protobuf, in less memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.errors import OutputError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.files import stream
from onnx_compress.compiler.ir.model import Model
from tests.behaviour import serialized
from tests.compiler.ir.everything import everything
from tests.small_models import MODELS, small_model

ROOT = Path(__file__).parents[3]

JOB = """
import pathlib, sys
from onnx_compress.compiler.ir.model import Model
def peak():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
model = Model.load(sys.argv[1])
before = peak()
model.clone().save(sys.argv[2])
print(peak() - before)
"""


@pytest.mark.parametrize("name", MODELS)
def test_the_bytes_are_those_of_protobuf(name, tmp_path):
    model = small_model(name)
    model.save(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == serialized(model)


def test_the_bytes_of_every_field_are_those_of_protobuf(tmp_path):
    Model.from_proto(everything()).save(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == everything().SerializeToString(deterministic=True)


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 200, 16383, 16384, 40000, 2_100_000])
def test_every_length_of_a_varint(size, tmp_path):
    model = small_model("tied")
    edit.add_constant(model, "big", "weight", np.zeros(size, np.uint8))
    model.save(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == serialized(model)


def test_too_much_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    model = small_model("tied")
    monkeypatch.setattr(stream, "MESSAGE_LIMIT", len(serialized(model)))
    model.save(tmp_path / "a.onnx")
    monkeypatch.setattr(stream, "MESSAGE_LIMIT", len(serialized(model)) - 1)
    with pytest.raises(OutputError, match="exceeds 2 GiB"):
        model.save(tmp_path / "b.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.slow
def test_saving_holds_no_second_copy(tmp_path):
    weights = [numpy_helper.from_array(np.full((4 << 20,), i, np.float32), f"w{i}") for i in range(8)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4 << 20]) for name in "xy")
    graph = helper.make_graph(
        [helper.make_node("Sum", ["x", *(w.name for w in weights)], ["y"])], "g", [x], [y], weights
    )
    onnx.save(helper.make_model(graph), tmp_path / "in.onnx")
    command = [sys.executable, "-c", JOB, str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 << 10, "kB beyond the peak of loading; the weights are 131,072, one is 16,384"
    for path in tmp_path.iterdir():
        path.unlink()
