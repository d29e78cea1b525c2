"""The graph of `.ocz` files: a serialized ONNX model, in which the data of tensors are put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ocz_sections import varint

MODEL, GRAPH, NODE, ATTRIBUTE, SPARSE, TENSOR, FUNCTION, TRAINING = range(8)
FOLLOWED = {
    MODEL: {7: GRAPH, 20: TRAINING, 25: FUNCTION},
    GRAPH: {1: NODE, 5: TENSOR, 15: SPARSE},
    FUNCTION: {7: NODE},
    TRAINING: {1: GRAPH, 2: GRAPH},
    NODE: {5: ATTRIBUTE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    SPARSE: {1: TENSOR, 2: TENSOR},
    TENSOR: {},
}
DATA = {9: 0, 4: 1, 10: 11}
"""Fields of TensorProto that are taken out, and the element type of what they hold: 0 for the tensor's own."""


@dataclass
class Tensor:
    """The description of a tensor in the message."""

    data_type: int = 0
    dims: list[int] = field(default_factory=list)
    outside: dict[bytes, bytes] = field(default_factory=dict)
    is_outside: bool = False


def fields(message: bytes) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Of each field of a message: number, wire type, start, start of its content, end, value of a number."""
    place = 0
    while place < len(message):
        start = place
        key, place = varint(message, place)
        body, value = place, 0
        if key & 7 == 0:
            value, place = varint(message, place)
        elif key & 7 == 2:
            length, body = varint(message, place)
            place = body + length
        else:
            place += {5: 4, 1: 8}[key & 7]
        yield key >> 3, key & 7, start, body, place, value


def packed(message: bytes) -> Iterator[int]:
    """The numbers of a packed field."""
    place = 0
    while place < len(message):
        value, place = varint(message, place)
        yield value


def tensor_of(message: bytes) -> Tensor:
    """The description in a TensorProto."""
    found = Tensor()
    for number, wire, _, body, end, value in fields(message):
        if number == 1 and wire == 0:
            found.dims.append(value)
        elif number == 1 and wire == 2:
            found.dims += packed(message[body:end])
        elif number == 2:
            found.data_type = value
        elif number == 14:
            found.is_outside = value == 1
        elif number == 13 and wire == 2:
            entry = message[body:end]
            parts = {part: entry[start:stop] for part, _, _, start, stop, _ in fields(entry)}
            found.outside[parts.get(1, b"")] = parts.get(2, b"")
    return found


def encoded(number: int) -> bytes:
    """A varint."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def filled(message: bytes, kind: int, fill: Callable[[int, Tensor], bytes], tensors: list[Tensor]) -> bytes:
    """The message with what `fill` gives in its holes; the tensors in it are listed on the way."""
    this = tensor_of(message) if kind == TENSOR else None
    if this is not None:
        tensors.append(this)
    pieces, copied = [], 0
    for number, wire, start, body, end, _ in fields(message):
        if wire != 2:
            continue
        if this is not None and number in DATA:
            inner = fill(DATA[number] or this.data_type, this)
        elif number in FOLLOWED[kind]:
            inner = filled(message[body:end], FOLLOWED[kind][number], fill, tensors)
        else:
            continue
        pieces += [message[copied:start], encoded(number << 3 | 2), encoded(len(inner)), inner]
        copied = end
    return b"".join([*pieces, message[copied:]])


def locations_of(tensors: list[Tensor]) -> list[bytes]:
    """The data files that tensors name, in the order in which they do first."""
    named = (found.outside.get(b"location", b"") for found in tensors if found.is_outside)
    return [name for name in dict.fromkeys(named) if name]


def stretches(tensors: list[Tensor], location: bytes, size: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Element type and shape of each stretch of a data file, in order."""
    claims = []
    for order, found in enumerate(tensors):
        start, length = found.outside.get(b"offset", b"0"), found.outside.get(b"length", b"")
        if not (found.is_outside and found.outside.get(b"location") == location and start.isdigit()):
            continue
        if length.isdigit() and int(length) and int(start) + int(length) <= size:
            claims.append((int(start), -int(start) - int(length), order))
    place = 0
    for start, end, order in sorted(claims):
        if start < place:
            continue
        if start > place:
            yield 2, (start - place,)
        yield tensors[order].data_type, tuple(tensors[order].dims)
        place = -end
    if place < size:
        yield 2, (size - place,)
