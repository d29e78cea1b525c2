"""The picture files of a folder or a zip archive, and the classes named by their folders.

Nothing is unpacked to disk. Archives are untrusted: names that leave the archive and oversized files are refused.
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
"""Suffixes of picture files; other files, and hidden ones, are ignored."""
MAX_FILE_BYTES = 1 << 28

ReadFile = Callable[[int], bytes]


@dataclass(frozen=True)
class Gallery:
    """Picture files below `path`, a folder or a zip, sorted by name."""

    path: Path
    names: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> Gallery:
        """List the pictures. Raises DataError if there are none, or the archive is damaged or malicious."""
        names = sorted(_folder_names(path) if path.is_dir() else _zip_names(path))
        if not names:
            raise DataError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        return cls(path, tuple(names))

    @contextmanager
    def reader(self) -> Iterator[ReadFile]:
        """A function from a picture's index to its bytes, valid within the block."""
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
        """Names of the class folders in the order of the class numbers; empty without class folders."""
        found = set(self._folders)
        if found == {""}:
            return ()
        if "" in found:
            loose = self.names[self._folders.index("")]
            raise DataError(f"{self.path}: '{loose}' is not in a class folder, but others are: move it into one")
        if all(name.isdecimal() for name in found):
            return tuple(sorted(found, key=int))
        return tuple(sorted(found))

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The class of each picture, int64: its folder's index in `classes`, or the folder's name if it is a number."""
        if not self.classes:
            return None
        numbered = all(name.isdecimal() for name in self.classes)
        number = {name: int(name) if numbered else place for place, name in enumerate(self.classes)}
        return np.array([number[folder] for folder in self._folders], np.int64)

    @cached_property
    def _folders(self) -> tuple[str, ...]:
        """The first folder of each name below the folders that all names share; '' for none."""
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
        except Exception as error:  # zipfile, zlib and struct raise different errors for a damaged archive
            raise DataError(f"{self.path}: '{name}' can't be unpacked: {error}") from None


def _folder_names(path: Path) -> list[str]:
    found = (file.relative_to(path) for file in path.rglob("*"))
    return [name.as_posix() for name in found if _is_picture(name.as_posix()) and (path / name).is_file()]


def _zip_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if _is_picture(info.filename)]
    except Exception as error:  # zipfile may raise anything on arbitrary bytes
        raise DataError(f"{path}: not a zip archive, or unreadable: {error}") from None
    for info in members:
        if ".." in PurePosixPath(info.filename).parts or info.filename.startswith("/"):
            raise DataError(f"{path}: the name '{info.filename}' points outside the archive: refused")
        _check_size(info.file_size, f"{path}: '{info.filename}'")
    return [info.filename for info in members]


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _check_size(size: int, where: str) -> None:
    if size > MAX_FILE_BYTES:
        raise DataError(f"{where} has {size} bytes, more than the {MAX_FILE_BYTES} allowed per picture")


def _shared_length(folders: Sequence[tuple[str, ...]]) -> int:
    """The number of leading folders that all names share."""
    shared = min(len(parts) for parts in folders)
    for place in range(shared):
        if len({parts[place] for parts in folders}) > 1:
            return place
    return shared
