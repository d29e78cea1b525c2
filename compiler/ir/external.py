"""External data: where it may lie, how it is read without loading it, how it is written again.

A model file is untrusted. A location may only name a file in the model's own folder or below it; a
symbolic link that leaves the folder counts as leaving it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx

from onnx_compress.compiler.errors import ModelError

ALIGNMENT = 4096
"""Offsets of large tensors in a data file: a memory page, so that a runtime can map them."""
INLINE_LIMIT = 1024
"""Bytes up to which a tensor stays in the model file even when the others are external."""
CHUNK = 1 << 24


@dataclass(frozen=True)
class ExternalData:
    """A stretch of a data file."""

    path: Path
    offset: int
    length: int

    def array(self, dtype: np.dtype, shape: tuple[int, ...], data_type: int) -> np.ndarray:
        """The stretch as an array of `shape`, mapped and read-only; types of fewer than 8 bits are unpacked."""
        if self.length == 0:
            return np.zeros(shape, dtype)
        mapped = np.memmap(self.path, np.uint8, "r", self.offset, (self.length,))
        if data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1):
            tensor = onnx.TensorProto(dims=shape, data_type=data_type, raw_data=mapped.tobytes())
            return np.asarray(onnx.numpy_helper.to_array(tensor))
        return np.ndarray(shape, dtype, buffer=mapped)

    def copy_to(self, out: BinaryIO) -> None:
        """Append the stretch to `out`, by the kernel where it can, so that it never passes through memory."""
        with self.path.open("rb") as source:
            done = _copy_by_kernel(source.fileno(), self.offset, out, self.length)
            source.seek(self.offset + done)
            left = self.length - done
            while left:
                block = source.read(min(CHUNK, left))
                if not block:
                    raise ModelError(f"{self.path}: the file ends before the data of the model does")
                out.write(block)
                left -= len(block)


def _copy_by_kernel(source: int, offset: int, out: BinaryIO, length: int) -> int:
    if not hasattr(os, "copy_file_range"):
        return 0
    out.flush()
    done = 0
    while done < length:
        try:
            count = os.copy_file_range(source, out.fileno(), min(length - done, 1 << 30), offset + done, out.tell())
        except OSError:
            return done  # another file system or no support: the caller reads and writes
        if count == 0:
            return done
        done += count
        out.seek(count, os.SEEK_CUR)
    return done


def locate(tensor: onnx.TensorProto, folder: Path | None, nbytes: int) -> ExternalData:
    """Resolve and check a tensor's external data: inside `folder`, present, and as long as its shape needs."""
    if folder is None:
        raise ModelError(f"initializer '{tensor.name}' has external data, but the model was not loaded from a file")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _resolve(tensor.name, entries.get("location", ""), folder)
    offset = _whole_number(tensor.name, entries.get("offset", "0"))
    length = _whole_number(tensor.name, entries.get("length", str(nbytes)))
    if length != nbytes:
        raise ModelError(
            f"initializer '{tensor.name}' declares {length} bytes of external data where its shape "
            f"{list(tensor.dims)} needs {nbytes}"
        )
    if offset + length > path.stat().st_size:
        raise ModelError(
            f"initializer '{tensor.name}': external data '{path.name}' has {path.stat().st_size} bytes, "
            f"but {offset + length} are needed: the file is truncated"
        )
    return ExternalData(path, offset, length)


def _resolve(name: str, location: str, folder: Path) -> Path:
    if not location or "\0" in location:
        raise ModelError(f"initializer '{name}' has external data without a location")
    home = folder.resolve()
    path = (home / location).resolve()
    if not path.is_relative_to(home):
        raise ModelError(f"initializer '{name}': external data '{location}' leaves the model's folder: refused")
    if not path.is_file():
        raise ModelError(f"initializer '{name}': external data '{location}' is missing in {folder}")
    return path


def _whole_number(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise ModelError(f"initializer '{name}' has the invalid external offset or length '{text[:40]}'")
    return int(text)
