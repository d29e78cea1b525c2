from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.dataset import load
from tests.compiler.runtime.data.picture_files import NCHW, archive, colour, folder, png

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
