"""Layers, groups and sizes of a model, as text and as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.cli.main import main
from onnx_compress.compiler.ir import edit
from tests.compiler.cli.saved_models import saved
from tests.small_models import TEXTS, small_model

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize("name", TEXTS)
def test_inspect_as_json_is_the_cost(name, capsys):
    assert main(["inspect", saved(name), "--json", "--groups"]) == 0
    found = json.loads(capsys.readouterr().out)
    cost = Cost.of(small_model(name), found["sizes"])
    assert (found["parameters"], found["bytes"]) == (cost.parameters, cost.bytes)
    assert found["macs"] == cost.macs > 0
    assert [layer["name"] for layer in found["layers"]] == [layer.name for layer in cost.layers]
    assert all(group["prunable"] or group["reason"] for group in found["groups"])


def test_inspect_shows_layers(capsys):
    assert main(["inspect", saved("residual")]) == 0
    out = capsys.readouterr().out
    assert "x: float32 [N, 3, 8, 8]" in out
    assert "stem   Conv       3→32      3×3" in out
    assert "batch 1" in out
    assert not any(line != line.rstrip() for line in out.splitlines())


def test_inspect_shows_groups_and_why_some_are_fixed(capsys):
    assert main(["inspect", saved("residual"), "--groups"]) == 0
    out = capsys.readouterr().out
    assert "conv2" in out
    assert "graph input 'x'" in out
    assert "graph output 'y'" in out


def test_inspect_takes_free_dimensions_from_data(capsys):
    model = small_model("tied")
    model.inputs()[0].shape = ("N", "T", 32)
    model.outputs()[0].shape = ("N", "T", 32)
    model.save("free.onnx")
    np.savez("data.npz", x=np.zeros((4, 7, 32), np.float32))
    assert main(["inspect", "free.onnx", "--data", "data.npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["macs"] == 2 * 7 * 1024
    assert main(["inspect", "free.onnx", "--data", "data.npz"]) == 0
    assert "for x [1, 7, 32]" in capsys.readouterr().out


def test_a_model_that_does_not_run_can_be_inspected(capsys):
    model = small_model("tied")
    edit.set_attr(model, next(n for n in model.nodes() if n.op == "Relu"), "no_such_attribute", 1)
    model.save("odd.onnx")
    assert main(["inspect", "odd.onnx"]) == 0
    assert "parameters" in capsys.readouterr().out
