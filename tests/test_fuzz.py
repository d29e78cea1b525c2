"""Damaged model files: loading, saving, simplifying or running one works, or says in one line why not."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.cli.main import main
from onnx_compress.compiler.errors import UserError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import to_text
from tests.compiler.ir.everything import everything
from tests.small_models import small_model

FILES: dict[str, Callable[[], bytes]] = {
    "everything": lambda: everything().SerializeToString(),
    "branches": lambda: small_model("branches").proto().SerializeToString(),
    "residual": lambda: small_model("residual").proto().SerializeToString()[:6000],
    "tied": lambda: small_model("tied").proto().SerializeToString(),
}
SEEDS = 150


def flipped(raw: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes are others; the first ones more often, because there the structure is."""
    damaged = bytearray(raw)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, len(raw))) if rng.random() < 0.5 else int(rng.integers(0, min(400, len(raw))))
        damaged[place] = int(rng.integers(0, 256))
    return bytes(damaged)


def cut(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw[: int(rng.integers(0, len(raw)))]


def spliced(raw: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(i) for i in rng.integers(0, len(raw), 2))
    return raw[:start] + raw[end:] if rng.random() < 0.5 else raw[:end] + raw[start:]


DAMAGES = (flipped, cut, spliced)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused(name, damage, tmp_path):
    raw, path = FILES[name](), tmp_path / "damaged.onnx"
    outcomes = {"read": 0, "refused": 0}
    for seed in range(SEEDS):
        path.write_bytes(damage(raw, np.random.default_rng([seed, len(name)])))
        reason = use(path, tmp_path / "out.onnx")
        assert "\n" not in reason
        assert set(os.listdir(tmp_path)) <= {"damaged.onnx", "out.onnx"}
        outcomes["refused" if reason else "read"] += 1
    assert outcomes["refused"], outcomes


def use(path: Path, out: Path) -> str:
    """Do with the file what can be done without running it; returns why it was refused."""
    try:
        model = Model.load(path)
        model.clone().save(out, force=True)
    except UserError as error:
        return str(error)
    for constant in Model.load(out).constants():
        assert constant.values.shape == constant.shape
    model.skeleton()
    with suppress(UserError):  # deep in a type there may be a name that is not text
        to_text(model)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["branches", "tied"])
def test_the_command_line_never_crashes(name, tmp_path, capfd):
    raw = FILES[name]()
    for seed in range(40):
        (tmp_path / "damaged.onnx").write_bytes(DAMAGES[seed % 3](raw, np.random.default_rng(seed)))
        command = [str(tmp_path / "damaged.onnx"), "-p", "simplify", "-o", str(tmp_path / "out.onnx"), "-q", "--force"]
        status = main(command)
        error = capfd.readouterr().err
        assert status in (0, 2, 3), f"seed {seed}: {error}"
        assert len(error.splitlines()) == (1 if status == 2 else 0), f"seed {seed}: {error}"
