from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.cli.main import main
from tests.compiler.cli.saved_models import saved

pytestmark = pytest.mark.usefixtures("folder")


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


def test_the_command_line_wins_over_the_recipe(capsys):
    saved("residual", "in.onnx")
    Path("r.toml").write_text('[settings]\nmax_drop = 0.5\n[[pass]]\nname = "simplify"\n')
    assert main(["in.onnx", "--recipe", "r.toml", "--max-drop", "2", "--metric", "cosine", "--dry-run"]) == 0
    assert "budget: 2 points of cosine" in capsys.readouterr().out
