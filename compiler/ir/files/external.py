"""External data: where it may be, how it is read without loading it, and how it is written.

A model file is untrusted. A location must name a file in the model's own folder or below it; a symbolic
link that leaves the folder is refused.
"""

from __future__ import annotations

import mmap
import os
import weakref
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

import numpy as np
import onnx

from onnx_compress.compiler.errors import ModelError

ALIGNMENT = 4096
"""Alignment of large tensors in a data file: a memory page, so that a runtime can map them."""
INLINE_LIMIT = 1024
"""Maximum size in bytes of a tensor that stays in the model file when the others are external."""
CHUNK = 1 << 24


class DataFile:
    """An open data file; it stays readable when another file replaces it, as when a model is saved over itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self.size = os.fstat(self.descriptor).st_size
        weakref.finalize(self, os.close, self.descriptor)

    def mapped(self, offset: int, length: int) -> np.ndarray:
        """`length` ≥ 1 bytes at `offset`, read-only; unmapped when the last view is freed, which bounds memory."""
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        try:
            pages = mmap.mmap(self.descriptor, offset - start + length, access=mmap.ACCESS_READ, offset=start)
        except (ValueError, OSError):
            raise ModelError(f"{self.path}: the file was truncated after the model was loaded: load it again") from None
        return np.frombuffer(pages, np.uint8, length, offset - start)


@dataclass(frozen=True)
class ExternalData:
    """A range of bytes in a data file."""

    file: DataFile
    offset: int
    length: int

    def array(self, dtype: np.dtype, shape: tuple[int, ...], data_type: int) -> np.ndarray:
        """The bytes as an array of `shape`, mapped and read-only; types of fewer than 8 bits are unpacked."""
        if self.length == 0:
            return np.zeros(shape, dtype)
        mapped = self.file.mapped(self.offset, self.length)
        if self.length == dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
            return np.ndarray(shape, dtype, buffer=mapped)
        tensor = onnx.TensorProto(dims=shape, data_type=data_type, raw_data=mapped.tobytes())
        return np.asarray(onnx.numpy_helper.to_array(tensor))

    def copy_to(self, out: BinaryIO) -> None:
        """Append the bytes to `out`, in the kernel if possible, so that they never pass through memory."""
        done = _copy_by_kernel(self.file.descriptor, self.offset, out, self.length)
        while done < self.length:
            count = min(CHUNK, self.length - done)
            out.write(self.file.mapped(self.offset + done, count).data)
            done += count


def _copy_by_kernel(source: int, offset: int, out: BinaryIO, length: int) -> int:
    """Copy up to `length` bytes in the kernel, and return the number of copied bytes."""
    if not hasattr(os, "copy_file_range"):
        return 0
    out.flush()
    done = 0
    while done < length:
        try:
            count = os.copy_file_range(source, out.fileno(), min(length - done, 1 << 30), offset + done, out.tell())
        except OSError:
            return done  # another file system or no support: the caller copies the rest
        if count == 0:
            return done
        done += count
        out.seek(count, os.SEEK_CUR)
    return done


@dataclass(frozen=True)
class DataFolder:
    """The folder of a model file, which must contain all its data (None: the model has no file), and the open files."""

    path: Path | None
    _open: dict[Path, DataFile] = field(default_factory=dict)

    def locate(self, tensor: onnx.TensorProto, nbytes: int) -> ExternalData:
        """A tensor's external data, checked to be in the folder, present, and as long as its shape needs."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = self.file(tensor.name, entries.get("location", ""))
        offset = _whole_number(tensor.name, entries.get("offset", "0"))
        length = _whole_number(tensor.name, entries.get("length", str(nbytes)))
        if length != nbytes:
            raise ModelError(
                f"initializer '{tensor.name}' declares {length} bytes of external data where its shape "
                f"{list(tensor.dims)} needs {nbytes}"
            )
        if offset + length > file.size:
            raise ModelError(
                f"initializer '{tensor.name}': external data '{file.path.name}' has {file.size} bytes, "
                f"but {offset + length} are needed: the file is truncated"
            )
        return ExternalData(file, offset, length)

    @property
    def size(self) -> int:
        """Bytes of the open files together."""
        return sum(file.size for file in self._open.values())

    def file(self, name: str, location: str) -> DataFile:
        """The opened data file at `location`, for the tensor `name`. Raises ModelError."""
        if self.path is None:
            raise ModelError(f"initializer '{name}' has external data, but the model was not loaded from a file")
        try:
            path = _resolved(name, location, self.path)
            if path not in self._open:
                self._open[path] = DataFile(path)
        except (OSError, RuntimeError) as error:  # RuntimeError: a cycle of links
            raise ModelError(f"initializer '{name}': external data '{location[:200]}' can't be read: {error}") from None
        return self._open[path]


def _resolved(name: str, location: str, folder: Path) -> Path:
    if not location or "\0" in location:
        raise ModelError(f"initializer '{name}' has external data without a location")
    home = folder.resolve()
    path = (home / location).resolve()
    is_absolute = Path(location).is_absolute() or PureWindowsPath(location).drive
    if is_absolute or not path.is_relative_to(home):
        raise ModelError(f"initializer '{name}': external data '{location}' leaves the model's folder: refused")
    if not path.is_file():
        raise ModelError(f"initializer '{name}': external data '{location}' is missing in {folder}")
    return path


def _whole_number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise ModelError(f"initializer '{name}' has the invalid external offset or length '{text[:40]}'")
    return int(text)
