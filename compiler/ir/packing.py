"""Packing a model that is in memory: with its weights as plain tensors, because these pack smallest.

A weight's indices, gaps and masks are what entropy coding finds by itself, with the neighbours in every direction to
go by; coded from an encoded file, several of them share a byte, and the nodes that decode come on top.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx_compress.compiler.ir import packed
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.save import check_writable
from onnx_compress.compiler.ir.store import store_dense
from onnx_compress.compiler.storage.container.archive import Packed


def plain(model: Model) -> Model:
    """The same model with every weight as a plain initializer; arrays are shared with it, and not copied.

    Only those that are cut into vectors with codebooks stay as they are.
    """
    twin = model.clone()
    for constant in twin.constants():
        if _is_encoded(constant):
            store_dense(twin, constant)
    return twin


def _is_encoded(constant: Constant) -> bool:
    stored = constant.stored
    if isinstance(stored, EncodedTensor):
        return stored.cells is None  # of which entropy coding sees single values only
    return isinstance(stored, LazyTensor) and stored.is_sparse


def save(model: Model, out: Path, *, force: bool) -> Packed:
    """Write the model packed, its weights plain. Raises OutputError."""
    check_writable(out, force=force)
    with _written(model, out.stem) as path:
        return packed.pack(path, out, force=force)


def size(model: Model) -> int:
    """The bytes that `save` would write."""
    with _written(model, "model") as path:
        return packed.packed_bytes(path)


@contextmanager
def _written(model: Model, stem: str) -> Iterator[Path]:
    """A file of the plain model, for a while; data files keep its name when they are unpacked."""
    with tempfile.TemporaryDirectory(prefix="onnx-compress-") as folder:
        path = Path(folder) / f"{stem}.onnx"
        plain(model).save(path)
        yield path
