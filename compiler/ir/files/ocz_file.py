"""Packed models: from `.onnx` to `.ocz` and back byte for byte, with external data files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, TypeAlias

import onnx
from google.protobuf.message import DecodeError

from onnx_compress.compiler.errors import ModelError, OutputError
from onnx_compress.compiler.ir.files.external import DataFolder
from onnx_compress.compiler.ir.files.save import check_writable, replacing
from onnx_compress.compiler.storage.container import archive
from onnx_compress.compiler.storage.container.archive import Archive, Packed
from onnx_compress.compiler.storage.container.sections import MAGIC
from onnx_compress.compiler.storage.container.wire import Piece

SUFFIX = ".ocz"
"""Suffix of packed files."""
Write: TypeAlias = Callable[[Path], object]
"""Writes a model file with its data files."""


def is_packed(path: Path) -> bool:
    """Whether a file starts like a packed model; False if it can't be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def pack(path: Path, out: Path, *, force: bool) -> Packed:
    """Pack the valid model file `path` and its data files to `out`, and verify that `out` unpacks to them.

    Raises ModelError if `path` is already packed, and OutputError.
    """
    if is_packed(path):
        raise ModelError(f"{path} is already packed")
    check_writable(out, force=force)
    with replacing(out) as file:
        sizes = measured(path, file)
        file.flush()
        with os.fdopen(os.dup(file.fileno()), "rb") as again:
            again.seek(0)
            _consume(Archive(again, sizes.total))
    return sizes


def measured(path: Path, out: BinaryIO) -> Packed:
    """Write the packed model, which must be valid, to a file object, and return the sizes."""
    folder = DataFolder(path.parent)

    def read_data(location: str) -> memoryview:
        file = folder.file("", location)
        return file.mapped(0, file.size).data if file.size else memoryview(b"")

    return archive.pack(memoryview(path.read_bytes()), read_data, out)


def packed_bytes(path: Path) -> int:
    """The packed size in bytes of a valid model file, which may be packed already."""
    if is_packed(path):
        return path.stat().st_size
    with tempfile.TemporaryFile() as out:
        return measured(path, out).total


def _consume(opened: Archive) -> None:
    for _ in opened.model():
        pass
    for file in opened.files:
        for _ in opened.data(file):
            pass


def unpack(path: Path, out: Path, *, force: bool) -> list[Path]:
    """Write the model file and its data files, all or none, and return their paths. Raises ModelError, OutputError."""
    check_writable(out, force=force)
    with _archive(path) as packed, ExitStack() as written:
        paths = [out, *(_data_path(out, file.location) for file in packed.files)]
        for target in paths[1:]:
            target.parent.mkdir(parents=True, exist_ok=True)
            check_writable(target, force=force)
        outs = [written.enter_context(replacing(target)) for target in paths]
        _write_all(outs[0], packed.model())
        for file, data_out in zip(packed.files, outs[1:]):
            _write_all(data_out, packed.data(file))
    return paths


def _write_all(out: BinaryIO, pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        out.write(piece)


def _data_path(out: Path, location: str) -> Path:
    """The path of a data file. Raises ModelError if it is not in or below the model's folder."""
    home = out.parent.resolve()
    path = (home / location).resolve() if "\0" not in location else home
    if Path(location).is_absolute() or PureWindowsPath(location).drive or not path.is_relative_to(home) or path == home:
        raise ModelError(f"external data '{location[:200]}' leaves the model's folder: refused")
    if path == out.resolve():
        raise OutputError(f"{out} is the name of the model's data file: choose another name")
    return path


@contextmanager
def _archive(path: Path) -> Iterator[Archive]:
    try:
        with path.open("rb") as file:
            yield Archive(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise ModelError("there is no such file") from None
    except OSError as error:
        raise ModelError(f"can't be read: {error.strerror}") from None


@contextmanager
def opened(path: Path) -> Iterator[tuple[onnx.ModelProto, Path | None]]:
    """A packed model as a message, and the folder of its external data, which exists during the block.

    Data files that were opened stay readable afterwards. Raises ModelError.
    """
    with _archive(path) as packed, ExitStack() as kept:
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(b"".join(packed.model()))
        except (DecodeError, ValueError):
            raise ModelError("the content is not an ONNX model") from None
        if not packed.files:
            yield proto, path.parent
            return
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        for file in packed.files:
            target = _data_path(folder / "model", file.location)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                _write_all(out, packed.data(file))
        yield proto, folder


def save(write: Write, out: Path, *, force: bool) -> Packed:
    """Pack the model that `write` writes to a file; data files are named after `out`. Raises OutputError."""
    check_writable(out, force=force)
    with _written(write, out.stem) as path:
        return pack(path, out, force=force)


def size(write: Write) -> int:
    """Number of bytes that `save` would write."""
    with _written(write, "model") as path:
        return packed_bytes(path)


@contextmanager
def _written(write: Write, stem: str) -> Iterator[Path]:
    """A temporary file of the model."""
    with tempfile.TemporaryDirectory(prefix="onnx-compress-") as folder:
        path = Path(folder) / f"{stem}.onnx"
        write(path)
        yield path
