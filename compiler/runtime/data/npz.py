"""Arrays in `.npy` and `.npz` files, mapped instead of loaded where possible.

NumPy maps `.npy` but loads members of `.npz` whole. Here an uncompressed member is mapped in place; a compressed one
is unpacked into an unnamed temporary file and mapped from there. Nothing is unpickled.
"""

from __future__ import annotations

import math
import shutil
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from onnx_compress.compiler.errors import DataError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, and lengths of name and extra field: the header in front of a member's bytes."""


def read_npy(path: Path) -> np.ndarray:
    """The array in a `.npy` file, mapped. Raises DataError."""
    try:
        with path.open("rb") as file:
            return _mapped(file, 0, path.stat().st_size, str(path))
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by name, mapped. Raises DataError."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return {
                info.filename.removesuffix(".npy"): _member(file, archive, info, f"{path}: {info.filename}")
                for info in archive.infolist()
            }
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from None
    except Exception as error:  # zipfile, zlib and struct raise different errors for a damaged archive
        raise DataError(f"{path}: not an .npz archive, or damaged: {error}") from None


def _member(file: IO[bytes], archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> np.ndarray:
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        file.seek(info.header_offset)
        signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        if signature != b"PK\x03\x04":
            raise DataError(f"{where}: the archive is damaged")
        return _mapped(file, info.header_offset + _LOCAL_HEADER.size + name + extra, info.file_size, where)
    if info.file_size > shutil.disk_usage(tempfile.gettempdir()).free:
        raise DataError(f"{where}: {info.file_size} bytes do not fit into the temporary folder: save it uncompressed")
    with tempfile.TemporaryFile() as unpacked, archive.open(info) as packed:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
        return _mapped(unpacked, 0, info.file_size, where)


def _mapped(file: IO[bytes], start: int, length: int, where: str) -> np.ndarray:
    """The `.npy` content of `length` bytes at `start`; the mapping outlives the open file."""
    file.seek(start)
    try:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
    except Exception:  # NumPy's header parser also raises its tokenizer's errors
        raise DataError(f"{where}: not an array in NumPy's format, or damaged") from None
    if dtype.hasobject or dtype.names:
        raise DataError(f"{where}: Python objects and records are not supported: save plain arrays")
    size = math.prod(shape) * dtype.itemsize
    if file.tell() - start + size != length:
        raise DataError(f"{where} is damaged: its header announces {size} bytes of data, but the file has another size")
    if size == 0:
        return np.zeros(shape, dtype)
    try:
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    except ValueError:
        raise DataError(f"{where} is truncated") from None
