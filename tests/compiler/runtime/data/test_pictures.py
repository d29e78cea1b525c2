from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data import gallery, pictures
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.data.preparation import PictureOptions
from tests.compiler.runtime.data.picture_files import NCHW, archive, colour, folder, image_input, png


def test_oversized_files_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "d.zip", {"a.png": png(colour(1, 40, 40))})
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1599)
    with pytest.raises(DataError, match=r"d\.zip: 'a\.png' has 40×40 pixels: too large"):
        next(load(path, NCHW).batches())
    monkeypatch.setattr(gallery, "MAX_FILE_BYTES", 50)
    with pytest.raises(DataError, match="more than the 50 allowed"):
        load(path, NCHW)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    data = bytearray(png(colour(1)))
    data[16:24] = (60000).to_bytes(4, "big") * 2  # width and height in the header, and its checksum
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"'a\.png' has too many pixels"):
        next(load(tmp_path, NCHW).batches())


HALF = png(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8))[:2000]


@pytest.mark.parametrize("data", [b"no picture", HALF, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_bytes_that_are_not_a_picture(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"'a\.png' can't be decoded as a picture"):
        next(load(tmp_path, NCHW).batches())


def test_decoders_of_other_formats_are_not_used(tmp_path: Path) -> None:
    Image.fromarray(colour(1)).save(tmp_path / "a.tiff")
    (tmp_path / "a.tiff").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"can't be decoded as a picture \(PNG, JPEG"):
        next(load(tmp_path, NCHW).batches())


def test_sixteen_bits_are_not_cut_to_eight(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.full((4, 4), 40000, np.uint16)))
    with pytest.raises(DataError, match="more than 8 bits per channel"):
        next(load(tmp_path, NCHW).batches())


def test_for_another_input_pictures_are_read_at_its_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)))
    options = PictureOptions(size=(8, 8), mean=[0.5], fit="stretch")
    large = load(tmp_path, image_input("N", 3, 8, 8), pictures=options)
    small = large.for_inputs(NCHW)
    again = load(tmp_path, NCHW, pictures=PictureOptions(mean=[0.5], fit="stretch"))
    np.testing.assert_array_equal(next(small.batches())["image"], next(again.batches())["image"])
    assert next(large.batches())["image"].shape == (1, 3, 8, 8)


def test_for_an_input_of_any_size_pictures_keep_theirs(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, {"a.png": 1}), image_input("N", 3, 2, 2))
    free = dataset.for_inputs(image_input("N", 3, "H", "W"))
    assert next(free.batches())["image"].shape == (1, 3, 2, 2)
    last = dataset.for_inputs(image_input("N", 6, 6, 1))
    assert next(last.batches())["image"].shape == (1, 6, 6, 1)


def test_pictures_for_a_model_that_takes_none_any_more(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, {"a.png": 1}), NCHW)
    for inputs in ([], image_input("N", 12)):
        with pytest.raises(DataError, match="pictures need a model with one input of rank 4"):
            dataset.for_inputs(inputs)


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_in_a_random_order(tmp_path: Path, packed: bool) -> None:
    names = {f"{i // 3}/{i}.png": 10 * i for i in range(12)}
    where = archive(tmp_path / "d.zip", {n: png(colour(v)) for n, v in names.items()}) if packed else tmp_path
    dataset = load(folder(tmp_path, names) if not packed else where, NCHW).shuffled(np.random.default_rng(0))
    seen = np.concatenate([batch["image"][:, 0, 0, 0] * 25.5 for batch in dataset.batches(5)])
    assert seen.tolist() != sorted(seen)
    assert dataset.labels is not None
    np.testing.assert_array_equal(np.round(seen).astype(int) // 3, dataset.labels)
