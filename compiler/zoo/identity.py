"""Whether loading and saving a model is lossless: compares every field of the protobuf."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import Message

from onnx_compress.compiler.ir.model import Model


def round_trip(path: Path, limit: int = 5) -> list[str]:
    """The differences after loading and saving the model at `path` without a pass; at most `limit`."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / path.name
        Model.load(path).save(saved)
        before, after = onnx.load(path), onnx.load(saved)
        if before.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True):
            return []
        return list(islice(differences(before, after), limit))


def differences(before: Message, after: Message, where: str = "model") -> Iterator[str]:
    """Every difference between two messages of the same type, as paths such as `model.graph.node[3].name`.

    Fields come from the message's descriptor, so fields of a later ONNX are compared too.
    """
    descriptor: Any = before.DESCRIPTOR
    for field in descriptor.fields:
        place = f"{where}.{field.name}"
        old, new = getattr(before, field.name), getattr(after, field.name)
        if not field.has_presence:
            yield from _repeated_differences(old, new, place)
        elif before.HasField(field.name) != after.HasField(field.name):
            yield f"{place} is set in only one of the two"
        elif isinstance(old, Message) and before.HasField(field.name):
            yield from differences(old, new, place)
        elif not isinstance(old, Message) and old != new:
            yield f"{place} was {_shown(old)}, is {_shown(new)}"


def _repeated_differences(old: Any, new: Any, place: str) -> Iterator[str]:
    if len(old) != len(new):
        yield f"{place} had {len(old)} entries, has {len(new)}"
        return
    for index, (one, other) in enumerate(zip(old, new, strict=True)):
        if isinstance(one, Message):
            yield from differences(one, other, f"{place}[{index}]")
        elif one != other:
            yield f"{place}[{index}] was {_shown(one)}, is {_shown(other)}"


def _shown(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) and len(value) > 40 else repr(value)
