"""Write a model: atomically, and with the same bytes every time."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import onnx

from onnx_compress.compiler.errors import OutputError
from onnx_compress.compiler.ir.files import external
from onnx_compress.compiler.ir.files.exporter import embedded, external_entry
from onnx_compress.compiler.ir.files.lower import lowered
from onnx_compress.compiler.ir.files.stream import Export, serialized
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.ir.lazy import LazyTensor


def write(graph: Graph, export: Export, path: Path, *, force: bool, apart: bool) -> int:
    """Write the model that `export` returns to `path`; with `apart` its large weights to `path` + `.data`.

    Both are written to temporary files and renamed only when complete. Returns the bytes of both. Raises OutputError.
    """
    data_path = path.with_name(path.name + ".data")
    for target in (path, data_path) if apart else (path,):
        check_writable(target, force=force)
    if not apart:
        with replacing(path) as out:
            out.writelines(serialized(graph, export, embedded))
            return out.tell()
    with replacing(path) as out, replacing(data_path) as data:
        places = _write_data(graph, data, _location(data_path))
        out.writelines(serialized(graph, export, lambda constant: places.get(constant) or embedded(constant)))
        return out.tell() + data.tell()


def _location(data_path: Path) -> str:
    try:
        return data_path.name.encode().decode()
    except UnicodeEncodeError:
        raise OutputError(f"{data_path!r}: the name of a model with external data must be UTF-8") from None


def check_writable(path: Path, *, force: bool) -> None:
    """Raise OutputError if `path` exists (unless `force`) or is not a file, or if its folder is not writable."""
    try:
        exists = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        exists = 0
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None
    if exists == stat.S_IFDIR:
        raise OutputError(f"{path} is a folder: give the name of a file")
    if exists not in (0, stat.S_IFREG):
        raise OutputError(f"{path} is a device or a pipe: give the name of a file")
    if exists and not force:
        raise OutputError(f"{path} exists: choose another name, or overwrite it with --force")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: no permission to write to {path.parent}")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file that replaces `path` if the block succeeds, and is deleted otherwise."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_data(graph: Graph, out: BinaryIO, location: str) -> dict[Constant, onnx.TensorProto]:
    """Write every large weight, and return the tensor that the model file has for each: a reference to its data."""
    places: dict[Constant, onnx.TensorProto] = {}
    for constant in _weights(graph):
        if constant.nbytes <= external.INLINE_LIMIT or constant.dtype.kind == "O" or _is_sparse(constant):
            continue
        out.write(b"\0" * (-out.tell() % external.ALIGNMENT))
        places[constant] = external_entry(constant, location, out.tell())
        _write_tensor(constant, out)
    return places


def _weights(graph: Graph) -> Iterator[Constant]:
    """Every initializer and every tensor in an attribute, including those in bodies."""
    for body in graph.graphs():
        yield from lowered(body).constants
        for node in body.nodes:
            yield from (value for value in node.attrs.values() if isinstance(value, Constant))


def _is_sparse(constant: Constant) -> bool:
    return isinstance(constant.stored, LazyTensor) and constant.stored.is_sparse


def _write_tensor(constant: Constant, out: BinaryIO) -> None:
    stored = constant.stored
    if isinstance(stored, LazyTensor) and stored.external is not None:
        stored.external.copy_to(out)
    else:
        out.write(onnx.numpy_helper.from_array(constant.values).raw_data)
