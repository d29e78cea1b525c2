"""Serialize a model without a second copy of its weights in memory.

`SerializeToString` needs a message with all weights copied into it, and returns all bytes at once: three times
the weights in addition to the model's own. Here weights are written one by one, at the place and in the form
that protobuf gives them, so the bytes are the same.
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
from onnx_compress.compiler.storage.container.wire import MESSAGE_LIMIT, varint

_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_HAS_LENGTH = 2
"""Protobuf's wire type of a length-prefixed field."""

Export = Callable[[Store], onnx.ModelProto]


def serialized(graph: Graph, export: Export, store: Store) -> Iterator[bytes]:
    """The bytes of the model that `export` returns, with weights as `store` writes them, at most one weight per piece.

    Raises OutputError before the first piece if they exceed 2 GiB.
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
        raise OutputError("the model exceeds 2 GiB, the limit of an ONNX file, even with external weights")
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
    """The bytes of a message's fields with the wanted numbers."""
    part = type(message)()
    part.CopyFrom(message)
    for field, _ in message.ListFields():
        if not is_wanted(field.number):
            part.ClearField(field.name)
    return bytes(part.SerializePartialToString(deterministic=True))


def _head(number: int, length: int) -> bytes:
    return varint(number << 3 | _HAS_LENGTH) + varint(length)
