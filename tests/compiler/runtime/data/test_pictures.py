from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_compress.compiler.errors import DataError, UsageError
from onnx_compress.compiler.runtime.data import gallery, pictures
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.data.preparation import PictureOptions
from onnx_compress.compiler.runtime.specs import Dim, TensorSpec


def image_input(*shape: Dim, dtype: str = "f4") -> list[TensorSpec]:
    return [TensorSpec("image", np.dtype(dtype), shape)]


NCHW = image_input("N", 3, 4, 4)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def colour(value: int, height: int = 4, width: int = 4) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def folder(root: Path, names: dict[str, int]) -> Path:
    for name, value in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(colour(value)))
    return root


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


CLASSES = {"cat/2.png": 20, "cat/1.PNG": 10, "dog/1.png": 30, "ant/x/1.png": 40}


def test_class_folders_give_labels_in_the_order_of_their_names(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, CLASSES), NCHW)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    values = np.concatenate([batch["image"][:, 0, 0, 0] for batch in dataset.batches(3)]) * 255
    np.testing.assert_allclose(values, [40, 10, 20, 30], rtol=1e-6)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1, 1, 2]


def test_a_zip_is_read_like_the_folder_that_it_holds(tmp_path: Path) -> None:
    pictures_in_it = {f"data/{name}": png(colour(value)) for name, value in CLASSES.items()}
    dataset = load(archive(tmp_path / "d.zip", {"data/README.md": b"hello", **pictures_in_it}), NCHW)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1, 1, 2]
    assert sum(len(batch["image"]) for batch in dataset.batches(3)) == 4


def test_folders_named_by_numbers_are_the_labels(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, {"10/a.png": 1, "2/a.png": 2, "0/a.png": 3}), NCHW)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 10, 2]


def test_pictures_without_folders_have_no_labels(tmp_path: Path) -> None:
    assert load(folder(tmp_path / "flat", {"a.png": 1, "b.png": 2}), NCHW).labels is None
    assert load(folder(tmp_path / "one", {"photos/a.png": 1, "photos/b.png": 2}), NCHW).labels is None


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    assert len(load(folder(tmp_path, {"a.png": 1, ".b.png": 2, "__MACOSX/a.png": 3, ".git/c.png": 4}), NCHW)) == 1


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


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no pictures \("):
        load(tmp_path, NCHW)


def test_some_pictures_in_class_folders_and_some_not(tmp_path: Path) -> None:
    dataset = folder(tmp_path, {"cat/a.png": 1, "b.png": 2})
    with pytest.raises(DataError, match=r"'b\.png' is not in a class folder, but others are"):
        _ = load(dataset, NCHW).labels


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png"])
def test_a_zip_with_names_outside_of_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"points outside the archive: refused"):
        load(archive(tmp_path / "d.zip", {"a.png": png(colour(1)), name: png(colour(1))}), NCHW)


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


def test_a_zip_that_is_not_a_zip(tmp_path: Path) -> None:
    (tmp_path / "d.zip").write_bytes(b"PK not really")
    with pytest.raises(DataError, match="not a zip archive"):
        load(tmp_path / "d.zip", NCHW)


def test_a_member_whose_bytes_are_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.zip", {"a.png": png(colour(1))})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"'a\.png' can't be unpacked: Bad CRC-32"):
        next(load(path, NCHW).batches())


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
