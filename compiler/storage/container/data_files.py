"""External data: how the data files of a model are split into their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_compress.compiler.storage.container.wire import Tensor

_UINT8 = 2
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Stretch:
    """Bytes [start, stop) of a data file, and the type and shape of their content."""

    start: int
    stop: int
    data_type: int
    dims: tuple[int, ...]


def locations(tensors: Sequence[Tensor]) -> list[str]:
    """The data files that tensors refer to, in order of first reference."""
    named = [tensor.outside.get(b"location", b"").decode("utf-8", "replace") for tensor in tensors if tensor.is_outside]
    return list(dict.fromkeys(name for name in named if name))


def stretches(tensors: Sequence[Tensor], location: str, size: int) -> list[Stretch]:
    """A file of `size` bytes as contiguous stretches: one per tensor, and the bytes between tensors as uint8.

    Of overlapping tensors the first is taken; what remains of the others becomes plain bytes.
    """
    found: list[Stretch] = []
    place = 0
    for stretch in sorted(_claims(tensors, location, size), key=lambda claim: (claim.start, -claim.stop)):
        if stretch.start < place:
            continue
        if stretch.start > place:
            found.append(Stretch(place, stretch.start, _UINT8, (stretch.start - place,)))
        found.append(stretch)
        place = stretch.stop
    if place < size:
        found.append(Stretch(place, size, _UINT8, (size - place,)))
    return found


def _claims(tensors: Sequence[Tensor], location: str, size: int) -> list[Stretch]:
    found = []
    for tensor in tensors:
        if not tensor.is_outside or tensor.outside.get(b"location", b"").decode("utf-8", "replace") != location:
            continue
        start, length = _number(tensor.outside.get(b"offset", b"0")), _number(tensor.outside.get(b"length", b""))
        if start is not None and length and start + length <= size:
            found.append(Stretch(start, start + length, tensor.data_type, tuple(tensor.dims)))
    return found


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) <= _MOST_DIGITS else None
