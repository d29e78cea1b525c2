from __future__ import annotations

import json

import pytest

from onnx_compress.compiler.cli.main import main
from tests.compiler.cli.saved_models import saved

pytestmark = pytest.mark.usefixtures("folder")


def test_bench_gives_medians_and_ratios(capsys):
    saved("tied", "a.onnx")
    saved("residual", "b.onnx")
    assert main(["bench", "a.onnx", "a.onnx", "--seconds", "0.3", "--batch", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["threads"], found["batch"]) == (1, 4)
    assert [row["model"] for row in found["models"]] == ["a.onnx (1)", "a.onnx (2)"]
    assert found["models"][0]["ratio"] == 1.0
    assert 0.2 < found["models"][1]["ratio"] < 5
    assert all(row["min_ms"] <= row["median_ms"] for row in found["models"])


def test_bench_shows_a_table(capsys):
    saved("tied", "a.onnx")
    assert main(["bench", "a.onnx", "--seconds", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "1.00× ± 0.00" in out
    assert "1 thread, batch 1" in out
