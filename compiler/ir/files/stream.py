"""Serializing a model without ever holding its weights a second time.

`SerializeToString` needs the graph with all weights copied into it, and gives all its bytes at once: three
times the weights beside those of the model. Here they come one by one, in the place and form that protobuf
gives them, so that the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
from google.protobuf.message import Message

from onnx_compress.compiler.errors import OutputError
from onnx_compress.compiler.ir.files.exporter import Store
from onnx_compress.compiler.ir.files.lower import lowered
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.ir.lazy import LazyTensor

MESSAGE_LIMIT = (1 << 31) - 1
"""Bytes that one protobuf message can have."""
_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_HAS_LENGTH = 2
"""Protobuf's mark of a field whose length stands before its content."""

Export = Callable[[Store], onnx.ModelProto]


def serialized(graph: Graph, export: Export, store: Store) -> Iterator[bytes]:
    """The bytes of the model that `export` makes, its weights as `store` gives them, in pieces of at most one weight.

    Raises OutputError before the first piece when they exceed 2 GiB.
    """
    dense = [constant for constant in lowered(graph).constants if not _is_sparse(constant)]
    streamed = set(dense)
    model = export(lambda constant: onnx.TensorProto() if constant in streamed else store(constant))
    del model.graph.initializer[:]
    before = _fields(model.graph, lambda number: number < _INITIALIZER)
    after = _fields(model.graph, lambda number: number > _INITIALIZER)
    length = len(before) + len(after) + sum(map(len, _weights(dense, store)))
    first, last = _fields(model, lambda number: number < _GRAPH), _fields(model, lambda number: number > _GRAPH)
    if len(first) + len(_head(_GRAPH, length)) + length + len(last) > MESSAGE_LIMIT:
        raise OutputError("the model exceeds the 2 GiB of an ONNX file even with its weights apart")
    yield first + _head(_GRAPH, length) + before
    yield from _weights(dense, store)
    yield after + last


def _is_sparse(constant: Constant) -> bool:
    return isinstance(constant.stored, LazyTensor) and constant.stored.is_sparse


def _weights(constants: list[Constant], store: Store) -> Iterator[bytes]:
    for constant in constants:
        raw = store(constant).SerializeToString(deterministic=True)
        yield _head(_INITIALIZER, len(raw)) + raw


def _fields(message: Message, is_wanted: Callable[[int], bool]) -> bytes:
    """The bytes of some fields of a message, by number."""
    part = type(message)()
    part.CopyFrom(message)
    for field, _ in message.ListFields():
        if not is_wanted(field.number):
            part.ClearField(field.name)
    return bytes(part.SerializePartialToString(deterministic=True))


def _head(number: int, length: int) -> bytes:
    return _varint(number << 3 | _HAS_LENGTH) + _varint(length)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
