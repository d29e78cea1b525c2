from __future__ import annotations

import json

import numpy as np
import pytest

from onnx_compress.compiler.cli.main import main
from tests.compiler.cli.saved_models import saved
from tests.small_models import small_model

pytestmark = pytest.mark.usefixtures("folder")


def test_inputs_are_matched_by_name_and_free_dimensions_fit_any():
    saved("branches", "a.onnx")
    other = small_model("branches")
    other.graph.inputs.reverse()
    other.inputs()[1].shape = (1, 16)
    other.save("b.onnx")
    assert main(["verify", "a.onnx", "b.onnx"]) == 0


def test_verify_of_a_model_with_itself(capsys):
    saved("residual", "a.onnx")
    assert main(["verify", "a.onnx", "a.onnx"]) == 0
    assert "all outputs agree within 1e-05 of their scale" in capsys.readouterr().out


def test_verify_shows_the_difference_and_returns_3(capsys):
    saved("tied", "a.onnx")
    saved("tied", "b.onnx", factor=1.01)
    assert main(["verify", "a.onnx", "b.onnx"]) == 3
    assert "OUTSIDE" in capsys.readouterr().out
    assert main(["verify", "a.onnx", "b.onnx", "--tolerance", "0.1"]) == 0
    capsys.readouterr()
    assert main(["verify", "a.onnx", "b.onnx", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)["outputs"]["y"]
    assert found["within"] is False
    assert 0.01 < found["max_abs"] / found["scale"] < 0.02


def test_verify_says_how_many_samples_it_used(capsys):
    model = small_model("tied")
    model.save("a.onnx")
    shape = [size if isinstance(size, int) else 1 for size in model.inputs()[0].shape]
    np.savez("data.npz", **{model.inputs()[0].name: np.ones((300, *shape[1:]), np.float32)})
    assert main(["verify", "a.onnx", "a.onnx", "--data", "data.npz"]) == 0
    assert "256 of 300 samples: all outputs agree" in capsys.readouterr().out


def test_verify_reports_outputs_that_cannot_be_compared(capsys):
    saved("tied", "a.onnx")
    other = small_model("tied")
    other.outputs()[0].name = "z"
    other.save("b.onnx")
    assert main(["verify", "a.onnx", "b.onnx"]) == 3
    assert "only one of the models has this output" in " ".join(capsys.readouterr().out.split())
