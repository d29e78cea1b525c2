"""Picture options of a recipe are applied, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnx_compress
from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import recipe
from onnx_compress.compiler.pipeline.datasets import datasets, picture_options
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import specs

TABLE = {"mean": [0.5]}
ARRAYS = {"image": np.zeros((8, 3, 4, 4), np.float32)}
STATED = r"\[data\] says how pictures are read, but "


def net() -> Model:
    return from_text("""<ir_version: 10, opset_import: ["" : 21]>
        g (float[N,3,4,4] image) => (float[N,3,4,4] y) { y = Relu (image) }""")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        Image.new("RGB", (4, 4), (10 * i, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_options_of_pictures_with_arrays_are_refused_with_the_remedy(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **ARRAYS)
    with pytest.raises(UsageError, match=STATED + rf"{tmp_path / 'd.npz'} holds arrays: remove \[data\]"):
        datasets(net(), str(tmp_path / "d.npz"), None, TABLE, 0)
    for given in (ARRAYS, lambda: iter([ARRAYS])):
        with pytest.raises(UsageError, match=STATED):
            datasets(net(), given, None, TABLE, 0)
    assert len(datasets(net(), ARRAYS, None, {}, 0)[0]) == 6


def test_options_count_as_soon_as_one_side_has_pictures(folder: Path) -> None:
    samples, held_out = datasets(net(), ARRAYS, str(folder), TABLE, 0)
    assert next(held_out.batches())["image"].min() == -0.5
    assert len(samples) == 8


def test_pictures_that_were_loaded_before_must_have_been_read_so(folder: Path) -> None:
    read = load(folder, specs(net()).inputs, pictures=picture_options(TABLE))
    assert datasets(net(), read, None, TABLE, 0)[0].source is read.source
    with pytest.raises(UsageError, match=STATED + "those of .* were loaded in another way"):
        datasets(net(), load(folder, specs(net()).inputs), None, TABLE, 0)


def test_from_python_too() -> None:
    read = recipe.parse('[data]\nmean = [0.5]\n[[pass]]\nname = "simplify"')
    with pytest.raises(UsageError, match=STATED + "data holds arrays"):
        onnx_compress.compress(net(), read, data=ARRAYS)
