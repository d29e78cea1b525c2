from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError, UsageError
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.data.preparation import PictureOptions
from onnx_compress.compiler.runtime.specs import TensorSpec
from tests.compiler.runtime.data.picture_files import NCHW, colour, folder, image_input, png


def test_the_arithmetic_is_scale_then_mean_then_std(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels))
    options = PictureOptions(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    expected = ((pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).transpose(2, 0, 1)
    found = next(load(tmp_path, NCHW, pictures=options).batches())["image"][0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    found = next(load(tmp_path, image_input("N", 4, 4, 3), pictures=options).batches())["image"][0]
    np.testing.assert_allclose(found, expected.transpose(1, 2, 0), atol=1e-6)
    found = next(load(tmp_path, NCHW, pictures=PictureOptions(scale=1.0)).batches())["image"][0]
    np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))


def test_integer_inputs_get_the_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(colour(200)))
    found = next(load(tmp_path, image_input("N", 4, 4, 3, dtype="u1")).batches())["image"]
    assert (found.dtype, found.min(), found.max()) == (np.uint8, 200, 200)
    with pytest.raises(DataError, match="scale, mean and std need a floating-point input"):
        load(tmp_path, image_input("N", 4, 4, 3, dtype="u1"), pictures=PictureOptions(mean=(0.5,)))
    with pytest.raises(DataError, match="pixels from 0 to 255 do not fit into"):
        load(tmp_path, image_input("N", 4, 4, 3, dtype="i1"))


def test_one_channel_is_grey(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.full((4, 4), 51, np.uint8)))
    assert next(load(tmp_path, image_input("N", 1, 4, 4)).batches())["image"].shape == (1, 1, 4, 4)
    three = next(load(tmp_path, NCHW).batches())["image"]
    np.testing.assert_allclose(three, 0.2, rtol=1e-6)


def test_other_sizes_are_cropped_to_the_middle_or_stretched(tmp_path: Path) -> None:
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 255
    (tmp_path / "a.png").write_bytes(png(wide))
    assert next(load(tmp_path, NCHW).batches())["image"].min() == 1
    stretched = next(load(tmp_path, NCHW, pictures=PictureOptions(fit="stretch")).batches())["image"]
    assert stretched.min() < 0.1


def test_free_sizes_follow_the_first_picture_or_the_option(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(colour(1, 6, 8)))
    (tmp_path / "b.png").write_bytes(png(colour(1, 9, 9)))
    free = image_input("N", 3, "H", "W")
    assert next(load(tmp_path, free).batches(2))["image"].shape == (2, 3, 6, 8)
    given = load(tmp_path, free, pictures=PictureOptions(size=(5, 7)))
    assert next(given.batches(2))["image"].shape == (2, 3, 5, 7)
    with pytest.raises(DataError, match=r"pictures of \[5, 7\] pixels do not match the input image: float32"):
        load(tmp_path, NCHW, pictures=PictureOptions(size=(5, 7)))


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        (image_input("N", 12), "pictures need a model with one input of rank 4"),
        ([*NCHW, *NCHW], "pictures need a model with one input"),
        (image_input("N", 7, 4, 4), "can't tell which axis of the input holds the channels"),
        (image_input("N", 3, 4, 4, dtype="O"), "do not fit into the input"),
    ],
)
def test_models_that_do_not_take_pictures(tmp_path: Path, inputs: list[TensorSpec], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load(folder(tmp_path, {"a.png": 1}), inputs)


@pytest.mark.parametrize(
    "options", [{"layout": "CHWN"}, {"fit": "pad"}, {"std": (1.0, 0.0, 1.0)}, {"size": (0, 4)}, {"mean": (1.0, 2.0)}]
)
def test_impossible_options(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"^pictures: "):
        load(folder(tmp_path, {"a.png": 1}), NCHW, pictures=PictureOptions(**options))  # type: ignore[arg-type]
