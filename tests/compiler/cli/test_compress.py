"""The main command names layers as its other outputs do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.cli.main import main
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text

pytestmark = pytest.mark.usefixtures("folder")

UNNAMED = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,8,8,8] x) => (float[N,16,4,4] y)
<float[16,8,3,3] w, float[16] scale, float[16] shift, float[16] mean, float[16] var, float[16,16,3,3] v>
{
  a = Conv (x, w)
  b = BatchNormalization (a, scale, shift, mean, var)
  c = Relu (b)
  y = Conv (c, v)
}"""
"""The first layer, whose name is that of its output, computes another one once the normalization is folded into it."""


def unnamed(path: str = "in.onnx") -> None:
    model = from_text(UNNAMED)
    edit.replace_values(model, next(c for c in model.constants() if c.name == "var"), np.ones(16, np.float32))
    model.save(path)


def test_what_inspect_calls_a_layer_without_a_name_can_be_typed(capsys):
    unnamed()
    assert main(["inspect", "in.onnx", "--json", "--groups"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [layer["name"] for layer in found["layers"]] == ["a", "b", "y"]
    assert (["a"], ["y"]) in [(group["producers"], group["consumers"]) for group in found["groups"]]
    assert main(["in.onnx", "-p", "simplify", "--exclude", "y", "--dry-run"]) == 0
    assert "left alone: 'y' (1): y" in capsys.readouterr().out
    assert main(["in.onnx", "-p", "simplify", "--exclude", "z", "--dry-run"]) == 2
    assert "no layer matches 'z'" in capsys.readouterr().err


def test_a_layer_without_a_name_is_left_alone_and_keeps_its_rules_when_another_is_folded_into_it():
    unnamed()
    Path("r.toml").write_text(
        '[[pass]]\nname = "cluster-weights"\nbits = 4\nrefit = false\n[[pass.layers]]\nmatch = "a"\nbits = 2\n'
    )
    job = ["in.onnx", "--recipe", "r.toml", "--exclude", "y", "-o", "out.onnx", "-q"]
    assert main(job) == 0
    left = {c.name: np.unique(c.values).size for c in Model.load("out.onnx").constants()}
    assert left == {"w": 4, "v": np.unique(from_text(UNNAMED).graph.initializers[-1].values).size, "w.bias": 16}
