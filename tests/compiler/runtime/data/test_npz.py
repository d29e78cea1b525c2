from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.npz import read_npy, read_npz

DTYPES = st.sampled_from(["<f4", "<f8", "<f2", "|u1", "<i8", "|b1", "<U3", "|S2", ">i4"])
ARRAYS = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


@given(ARRAYS, st.booleans(), st.booleans())
def test_what_was_saved_is_read(array: np.ndarray, compressed: bool, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran else array
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.npz")
        (np.savez_compressed if compressed else np.savez)(path, a=array, second=np.arange(3))
        np.save(Path(folder, "d.npy"), array)
        found = [read_npz(path), {"a": read_npy(Path(folder, "d.npy"))}]
    assert list(found[0]) == ["a", "second"]
    for arrays_read in found:
        assert arrays_read["a"].dtype == array.dtype
        np.testing.assert_array_equal(arrays_read["a"], array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_members_are_mapped_and_not_loaded(tmp_path: Path, save: object) -> None:
    save(tmp_path / "d.npz", x=np.arange(1000.0))  # type: ignore[operator]
    found = read_npz(tmp_path / "d.npz")["x"]
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("member", "complaint"),
    [
        (saved(np.arange(100.0))[:-8], "is damaged: its header announces 800 bytes"),
        (saved(np.arange(100.0)) + b"more", "is damaged"),
        (saved(np.arange(4.0))[:9], "not an array in NumPy's format"),
        (b"not an array at all", "not an array in NumPy's format"),
        (b"", "not an array in NumPy's format"),
        (saved(np.array([{"a": 1}], dtype=object)), "Python objects and records are not supported"),
        (saved(np.zeros(2, [("a", "f4")])), "Python objects and records are not supported"),
        (saved(np.zeros(3)).replace(b"(3,), }", b"(-3,),}"), "is damaged"),
    ],
)
def test_a_damaged_or_malicious_member_is_refused(tmp_path: Path, method: int, member: bytes, complaint: str) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w", method) as archive:
        archive.writestr("x.npy", member)
    with pytest.raises(DataError, match=complaint) as caught:
        read_npz(tmp_path / "d.npz")
    assert str(caught.value).startswith(f"{tmp_path / 'd.npz'}: x.npy")


def test_pickled_objects_are_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("it was unpickled",))

    np.save(tmp_path / "d.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="are not supported"):
        read_npy(tmp_path / "d.npy")


def test_a_truncated_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.arange(1000.0))
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[:3000])
    with pytest.raises(DataError, match=r"not an \.npz archive, or damaged"):
        read_npz(tmp_path / "d.npz")


def test_a_member_with_a_wrong_offset(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.arange(1000.0))
    data = bytearray((tmp_path / "d.npz").read_bytes())
    data[:4] = b"XXXX"  # the local header that the directory points to
    (tmp_path / "d.npz").write_bytes(bytes(data))
    with pytest.raises(DataError, match="is damaged"):
        read_npz(tmp_path / "d.npz")


def test_a_size_that_no_disk_holds(tmp_path: Path) -> None:
    header = saved(np.zeros(1))[:128].replace(b"(1,), }" + b" " * 13, b"(1" + b"0" * 13 + b",), }")
    assert len(header) == 128
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", header)
    with pytest.raises(DataError, match="its header announces 80000000000000 bytes"):
        read_npz(tmp_path / "d.npz")


@given(st.data())
def test_damaged_bytes_give_a_data_error_or_data(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.npz")
        np.savez(path, x=np.arange(5.0))
        whole = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(whole))
        with contextlib.suppress(DataError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's on headers that Python 2 wrote
            assert all(isinstance(array, np.ndarray) for array in read_npz(path).values())


def test_a_compressed_member_larger_than_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=np.arange(100.0))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=500))
    with pytest.raises(DataError, match="928 bytes do not fit into the temporary folder"):
        read_npz(tmp_path / "d.npz")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz: can't be read: No such file"):
        read_npz(tmp_path / "absent.npz")
