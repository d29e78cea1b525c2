"""Cut the tensors' data out of a serialized model, and restore the same bytes.

A protobuf message is a sequence of fields: a key (number and wire type), and for wire type 2 a length and that many
bytes. The few fields that lead from a model to its tensors are followed; everything else is copied unchanged. The
rest, the skeleton, is itself a message in which every tensor's data is empty and the enclosing lengths are adjusted.
Nothing here depends on how a protobuf library would serialize the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MESSAGE_LIMIT = (1 << 31) - 1
"""Maximum size of a protobuf message in bytes."""
MAX_DEPTH = 200
"""Levels of nested messages that are followed; deeper ones stay in the skeleton."""

# Message kinds, and the fields followed in each: number -> kind.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _SPARSE, _TENSOR, _FUNCTION, _TRAINING = range(8)
_FOLLOWED: Mapping[int, Mapping[int, int]] = MappingProxyType(
    {
        _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
        _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
        _FUNCTION: {7: _NODE},
        _TRAINING: {1: _GRAPH, 2: _GRAPH},
        _NODE: {5: _ATTRIBUTE},
        _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
        _SPARSE: {1: _TENSOR, 2: _TENSOR},
    }
)
_FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA = 4, 9, 10
_DIMS, _DATA_TYPE, _EXTERNAL, _LOCATION = 1, 2, 13, 14
_FLOAT, _DOUBLE = 1, 11
"""Element types of the typed fields, as onnx.TensorProto numbers them."""
_DATA = MappingProxyType({_RAW_DATA: 0, _FLOAT_DATA: _FLOAT, _DOUBLE_DATA: _DOUBLE})
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Malformed(Exception):
    """The bytes are not a valid message."""


@dataclass
class Tensor:
    """The skeleton's description of one tensor. `holes` counts its data fields; `outside` are its external entries."""

    data_type: int = 0
    dims: list[int] = field(default_factory=list)
    holes: int = 0
    outside: dict[bytes, bytes] = field(default_factory=dict)
    is_outside: bool = False


@dataclass(frozen=True)
class Hole:
    """A place where data was cut out: the tensor, and the element type of the field (0, the tensor's, for raw_data)."""

    tensor: Tensor
    typed: int

    @property
    def data_type(self) -> int:
        """onnx.TensorProto's number of the element type."""
        return self.typed or self.tensor.data_type


@dataclass(frozen=True)
class Field:
    """One field of a message: bytes [start, stop); its content, for wire type 2, is [body, stop)."""

    number: int
    wire: int
    start: int
    body: int
    stop: int
    value: int = 0


Piece = bytes | memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in order. Raises Malformed."""
    place, end = 0, len(message)
    while place < end:
        start = place
        key, place = read_varint(message, place)
        number, wire, value, body = key >> 3, key & 7, 0, place
        if wire == _VARINT:
            value, place = read_varint(message, place)
        elif wire == _BYTES:
            length, body = read_varint(message, place)
            place = body + length
        elif wire in (_FIXED32, _FIXED64):
            place += 4 if wire == _FIXED32 else 8
        else:
            raise Malformed
        if place > end or number == 0:
            raise Malformed
        yield Field(number, wire, start, body, place, value)


def read_varint(message: memoryview, place: int) -> tuple[int, int]:
    """The number that starts at `place`, and the position after it. Raises Malformed."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise Malformed
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise Malformed


def varint(value: int) -> bytes:
    """The number in seven bits per byte, the lowest first; the eighth bit marks that more bytes follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@dataclass
class _Rewriter:
    """Rewrites a message: without data when cutting, with the given `fillings` otherwise."""

    cutting: bool
    fillings: Iterator[Piece] = field(default_factory=lambda: iter(()))
    holes: list[Hole] = field(default_factory=list)
    data: list[memoryview] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)

    def message(self, raw: memoryview, kind: int, depth: int = 0) -> tuple[list[Piece], int]:
        """The rewritten message in pieces, and its length."""
        tensor = self._tensor(raw) if kind == _TENSOR else None
        followed = _FOLLOWED.get(kind, {})
        pieces: list[Piece] = []
        length = copied = 0
        for found in fields(raw):
            if found.wire != _BYTES:
                continue
            inner: tuple[list[Piece], int] | None = None
            if tensor is not None and found.number in _DATA:
                inner = self._data(raw[found.body : found.stop], Hole(tensor, _DATA[found.number]))
            elif found.number in followed and depth < MAX_DEPTH:
                inner = self.message(raw[found.body : found.stop], followed[found.number], depth + 1)
            if inner is None:
                continue
            head = raw[copied : found.start].tobytes() + varint(found.number << 3 | _BYTES) + varint(inner[1])
            pieces += [head, *inner[0]]
            length += len(head) + inner[1]
            copied = found.stop
        pieces.append(raw[copied:])
        return pieces, length + len(raw) - copied

    def _tensor(self, raw: memoryview) -> Tensor:
        tensor = Tensor()
        self.tensors.append(tensor)
        for found in fields(raw):
            if found.number == _DIMS and found.wire == _VARINT:
                tensor.dims.append(found.value)
            elif found.number == _DIMS and found.wire == _BYTES:
                tensor.dims += _packed(raw[found.body : found.stop])
            elif found.number == _DATA_TYPE:
                tensor.data_type = found.value
            elif found.number == _LOCATION:
                tensor.is_outside = found.value == 1
            elif found.number == _EXTERNAL and found.wire == _BYTES:
                entry = raw[found.body : found.stop]
                parts = {part.number: bytes(entry[part.body : part.stop]) for part in fields(entry)}
                tensor.outside[parts.get(1, b"")] = parts.get(2, b"")
        return tensor

    def _data(self, raw: memoryview, hole: Hole) -> tuple[list[Piece], int]:
        hole.tensor.holes += 1
        self.holes.append(hole)
        if self.cutting:
            self.data.append(raw)
            return [], 0
        filling = next(self.fillings)
        return [filling], len(filling)


def _packed(raw: memoryview) -> Iterator[int]:
    place = 0
    while place < len(raw):
        value, place = read_varint(raw, place)
        yield value


@dataclass(frozen=True)
class Skeleton:
    """A model without its tensors' data: the bytes, the holes in them, all tensors, and the data cut out.

    The skeleton of a model that could not be cut has no holes; its bytes include the tensors' data.
    """

    raw: bytes
    holes: list[Hole]
    tensors: list[Tensor]
    data: list[memoryview]
    is_cut: bool = True


def cut(model: memoryview) -> Skeleton:
    """Cut the data of every tensor out of a serialized model.

    If filling it in again would not restore the same bytes (lengths in more bytes than needed), nothing is cut.
    Raises Malformed.
    """
    rewriter = _Rewriter(cutting=True)
    pieces, _ = rewriter.message(model, _MODEL)
    skeleton = Skeleton(b"".join(pieces), rewriter.holes, rewriter.tensors, rewriter.data)
    if _is_same(fill(skeleton.raw, list(skeleton.data)), model):
        return skeleton
    return whole(bytes(model))


def _is_same(pieces: list[Piece], whole: memoryview) -> bool:
    place = 0
    for piece in pieces:
        if whole[place : place + len(piece)] != piece:
            return False
        place += len(piece)
    return place == len(whole)


def whole(model: bytes) -> Skeleton:
    """The skeleton of a model that can't be cut: the whole model. Raises Malformed."""
    return Skeleton(model, [], survey(model).tensors, [], is_cut=False)


def survey(skeleton: bytes) -> Skeleton:
    """The holes and tensors of a skeleton. Raises Malformed if the bytes are not a valid message."""
    rewriter = _Rewriter(cutting=True)
    rewriter.message(memoryview(skeleton), _MODEL)
    return Skeleton(skeleton, rewriter.holes, rewriter.tensors, [])


def fill(skeleton: bytes, data: list[Piece] | list[memoryview]) -> list[Piece]:
    """The serialized model in pieces: the skeleton with `data` filled into its holes. Raises Malformed."""
    pieces, _ = _Rewriter(cutting=False, fillings=iter(data)).message(memoryview(skeleton), _MODEL)
    return pieces
