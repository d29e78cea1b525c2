from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.cli.main import main
from tests.small_models import small_model

pytestmark = pytest.mark.usefixtures("folder")


def test_a_model_and_its_data_file_come_back(capsys):
    proto = small_model("dead_channels").proto()
    onnx.save(proto, "in.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert main(["pack", "in.onnx", "-o", "packed.ocz"]) == 0
    before = {name: Path(name).read_bytes() for name in ("in.onnx", "weights.bin")}
    Path("weights.bin").unlink()
    assert main(["unpack", "packed.ocz", "-o", "back.onnx"]) == 0
    assert "back.onnx: " in capsys.readouterr().out
    assert Path("back.onnx").read_bytes() == before["in.onnx"]
    assert Path("weights.bin").read_bytes() == before["weights.bin"]


def test_a_file_that_exists_stays_without_force(capsys):
    small_model("tied").save("in.onnx")
    assert main(["pack", "in.onnx", "-o", "in.ocz"]) == 0
    before = Path("in.onnx").read_bytes()
    Path("in.onnx").write_bytes(b"mine")
    assert main(["unpack", "in.ocz", "-o", "in.onnx"]) == 2
    assert Path("in.onnx").read_bytes() == b"mine"
    assert main(["unpack", "in.ocz", "-o", "in.onnx", "--force"]) == 0
    assert Path("in.onnx").read_bytes() == before


def test_a_damaged_file_leaves_nothing(capsys):
    small_model("tied").save("in.onnx")
    assert main(["pack", "in.onnx", "-o", "in.ocz"]) == 0
    raw = np.frombuffer(Path("in.ocz").read_bytes(), np.uint8).copy()
    raw[len(raw) // 2] ^= 1
    Path("in.ocz").write_bytes(raw.tobytes())
    capsys.readouterr()
    assert main(["unpack", "in.ocz", "-o", "back.onnx"]) == 2
    assert "in.ocz: " in capsys.readouterr().err
    assert sorted(path.name for path in Path().glob("*back*")) == []
