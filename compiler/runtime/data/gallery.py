"""The picture files of a folder or a zip archive, and the classes that their folders name.

Nothing is ever unpacked to disk. Archives are untrusted: names that leave it and absurd sizes are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from onnx_compress.compiler.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm"})
"""Files with these endings are pictures; others, and hidden ones, are passed over."""
MAX_FILE_BYTES = 1 << 28

ReadFile = Callable[[int], bytes]


@dataclass(frozen=True)
class Gallery:
    """Picture files below `path`, a folder or a zip, by name in sorted order."""

    path: Path
    names: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> Gallery:
        """List the pictures. Raises DataError where there are none, or the archive is damaged or hostile."""
        names = sorted(_folder_names(path) if path.is_dir() else _zip_names(path))
        if not names:
            raise DataError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        return cls(path, tuple(names))

    @contextmanager
    def reader(self) -> Iterator[ReadFile]:
        """A function from a picture's number to its bytes, for as long as the block lasts."""
        if self.path.is_dir():
            yield self._read_file
            return
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield lambda index: self._read_member(archive, index)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{self.path}: can't be read: {error}") from None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders in the order of their numbers; empty without class folders."""
        found = set(self._folders)
        if found == {""}:
            return ()
        if "" in found:
            loose = self.names[self._folders.index("")]
            raise DataError(f"{self.path}: '{loose}' lies in no class folder, others do: move it into one")
        if all(name.isdecimal() for name in found):
            return tuple(sorted(found, key=int))
        return tuple(sorted(found))

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The class of each picture, int64: its folder's place among `classes`, or the number that is its name."""
        if not self.classes:
            return None
        numbered = all(name.isdecimal() for name in self.classes)
        number = {name: int(name) if numbered else place for place, name in enumerate(self.classes)}
        return np.array([number[folder] for folder in self._folders], np.int64)

    @cached_property
    def _folders(self) -> tuple[str, ...]:
        """The first folder of each name, after the folders that all names share; '' for none."""
        folders = [PurePosixPath(name).parts[:-1] for name in self.names]
        shared = _shared_length(folders)
        return tuple(parts[shared] if len(parts) > shared else "" for parts in folders)

    def _read_file(self, index: int) -> bytes:
        path = self.path / self.names[index]
        try:
            _check_size(path.stat().st_size, str(path))
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: can't be read: {error.strerror or error}") from None

    def _read_member(self, archive: zipfile.ZipFile, index: int) -> bytes:
        name = self.names[index]
        try:
            return archive.read(name)
        except Exception as error:  # of a damaged archive zipfile, zlib and struct complain each in its own way
            raise DataError(f"{self.path}: '{name}' can't be unpacked: {error}") from None


def _folder_names(path: Path) -> list[str]:
    found = (file.relative_to(path) for file in path.rglob("*"))
    return [name.as_posix() for name in found if _is_picture(name.as_posix()) and (path / name).is_file()]


def _zip_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if _is_picture(info.filename)]
    except Exception as error:  # zipfile on bytes of any kind
        raise DataError(f"{path} is no zip archive, or it can't be read: {error}") from None
    for info in members:
        if ".." in PurePosixPath(info.filename).parts or info.filename.startswith("/"):
            raise DataError(f"{path}: the name '{info.filename}' leaves the archive: refused")
        _check_size(info.file_size, f"{path}: '{info.filename}'")
    return [info.filename for info in members]


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _check_size(size: int, where: str) -> None:
    if size > MAX_FILE_BYTES:
        raise DataError(f"{where} has {size} bytes, more than the {MAX_FILE_BYTES} allowed for a picture")


def _shared_length(folders: Sequence[tuple[str, ...]]) -> int:
    """How many leading folders all names have in common."""
    shared = min(len(parts) for parts in folders)
    for place in range(shared):
        if len({parts[place] for parts in folders}) > 1:
            return place
    return shared
