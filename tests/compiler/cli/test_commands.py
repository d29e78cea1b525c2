"""The commands passes, inspect, verify and bench, and the plan of a dry run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.cli.main import main
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import registry
from tests.small_models import TEXTS, small_model


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def saved(name: str, path: str = "model.onnx", factor: float = 1.0) -> str:
    model = small_model(name)
    if factor != 1:
        weight = max(model.constants(), key=lambda c: c.nbytes)
        edit.replace_values(model, weight, weight.values * np.float32(factor))
    model.save(path)
    return path


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


def test_inputs_are_matched_by_name_and_free_dimensions_fit_any(capsys):
    saved("branches", "a.onnx")
    other = small_model("branches")
    other.graph.inputs.reverse()
    other.inputs()[1].shape = (1, 16)
    other.save("b.onnx")
    main(["verify", "a.onnx", "b.onnx"])
    assert "takes other inputs" not in capsys.readouterr().err


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


def test_passes_lists_and_shows(capsys):
    assert main(["passes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in registry.names())
    assert main(["passes", "quantize"]) == 0
    assert "CVPR 2018" in capsys.readouterr().out


def test_the_reference_is_a_page(capsys):
    assert main(["passes", "--markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Passes\n")
    assert "## simplify\n" in text


def test_a_dry_run_shows_the_plan_and_writes_nothing(capsys):
    saved("residual", "in.onnx")
    np.savez("data.npz", x=np.zeros((8, 3, 8, 8), np.float32))
    Path("r.toml").write_text(
        '[settings]\nmax_drop = 0.5\nexclude = ["fc"]\n[[pass]]\nname = "cluster-weights"\nbits = 4\n'
        '[[pass.layers]]\nmatch = "conv*"\nbits = 5\n'
    )
    before = sorted(Path().iterdir())
    assert main(["in.onnx", "--recipe", "r.toml", "--exclude", "stem", "--data", "data.npz", "--dry-run"]) == 0
    assert capsys.readouterr().out == (
        "1. simplify  exact\n"
        "2. cluster-weights:bits=4  lossy\n"
        "   bits=5 for 'conv*' (2): conv2, conv3\n"
        "3. encode  exact\n"
        "left alone: 'fc' (1): fc\n"
        "left alone: 'stem' (1): stem\n"
        "budget: 0.5 points of the default metric\n"
        "samples: 6 to calibrate with, 2 to measure on\n"
    )
    assert sorted(Path().iterdir()) == before


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


def test_the_command_line_wins_over_the_recipe(capsys):
    saved("residual", "in.onnx")
    Path("r.toml").write_text('[settings]\nmax_drop = 0.5\n[[pass]]\nname = "simplify"\n')
    assert main(["in.onnx", "--recipe", "r.toml", "--max-drop", "2", "--metric", "cosine", "--dry-run"]) == 0
    assert "budget: 2 points of cosine" in capsys.readouterr().out
