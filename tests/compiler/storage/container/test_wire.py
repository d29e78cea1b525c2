"""Cutting a serialized model removes the data, and filling restores the same bytes, whatever wrote them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.storage.container import wire
from tests.compiler.ir.everything import everything
from tests.small_models import MODELS, small_model


def back(raw: bytes) -> bytes:
    skeleton = wire.cut(memoryview(raw))
    surveyed = wire.survey(skeleton.raw)
    assert [hole.data_type for hole in surveyed.holes] == [hole.data_type for hole in skeleton.holes]
    assert surveyed.tensors == skeleton.tensors
    return b"".join(wire.fill(skeleton.raw, list(skeleton.data)))


@pytest.mark.parametrize("name", MODELS)
def test_the_bytes_come_back_and_no_weight_stays(name):
    proto = small_model(name).proto()
    raw = proto.SerializeToString()
    skeleton = wire.cut(memoryview(raw))
    assert back(raw) == raw
    assert len(skeleton.data) >= sum(tensor.HasField("raw_data") for tensor in proto.graph.initializer)
    assert len(raw) - sum(map(len, skeleton.data)) >= len(skeleton.raw)
    onnx.ModelProto().ParseFromString(skeleton.raw)


def test_tensors_are_found_at_every_place_of_a_model():
    raw = everything().SerializeToString()
    skeleton = wire.cut(memoryview(raw))
    assert back(raw) == raw
    found: list[bytes] = []

    def collect(message) -> None:
        if isinstance(message, TensorProto) and message.HasField("raw_data"):
            found.append(message.raw_data)
        for field, value in message.ListFields():
            if field.type == field.TYPE_MESSAGE:
                for part in value if not hasattr(value, "ListFields") else [value]:
                    collect(part)

    collect(everything())
    assert {bytes(data) for data in skeleton.data} >= set(found)


def test_typed_data_are_cut_too():
    tensors = [
        TensorProto(name="f", dims=[3], data_type=TensorProto.FLOAT, float_data=[1, 2, 3]),
        TensorProto(name="d", dims=[2], data_type=TensorProto.DOUBLE, double_data=[1, 2]),
        TensorProto(name="i", dims=[2], data_type=TensorProto.INT32, int32_data=[1, 2]),
    ]
    raw = helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString()
    skeleton = wire.cut(memoryview(raw))
    assert [bytes(data) for data in skeleton.data] == [np.float32([1, 2, 3]).tobytes(), np.float64([1, 2]).tobytes()]
    assert [hole.data_type for hole in skeleton.holes] == [TensorProto.FLOAT, TensorProto.DOUBLE]
    assert back(raw) == raw


def test_data_before_the_shape_are_cut_by_it():
    tensor = numpy_helper.from_array(np.arange(6, dtype=np.int16).reshape(2, 3), "w").SerializeToString()
    data_first = b"J\x0c" + np.arange(6, dtype=np.int16).tobytes() + tensor[: tensor.index(b"J\x0c")]
    graph = b"*" + wire.varint(len(data_first)) + data_first
    raw = b"\x08\x0a:" + wire.varint(len(graph)) + graph
    assert onnx.ModelProto.FromString(raw).graph.initializer[0].dims == [2, 3]
    skeleton = wire.cut(memoryview(raw))
    assert (skeleton.holes[0].data_type, skeleton.tensors[0].dims) == (TensorProto.INT16, [2, 3])
    assert back(raw) == raw


def test_a_length_in_more_bytes_than_it_needs_leaves_the_model_whole():
    raw = small_model("tied").proto().SerializeToString()
    place = raw.index(b"J\x80\x20")  # the 4096 bytes of w
    longer = raw[:place] + b"J\x80\xa0\x00" + raw[place + 3 :]
    graph = raw.index(b":") + 1
    length, after = wire.read_varint(memoryview(raw), graph)
    tensor = longer.rindex(b"*", 0, place)
    inner, behind = wire.read_varint(memoryview(longer), tensor + 1)
    longer = longer[: tensor + 1] + wire.varint(inner + 1) + longer[behind:]
    longer = longer[:graph] + wire.varint(length + 1) + longer[after:]
    assert onnx.ModelProto.FromString(longer).graph.initializer[0].raw_data
    skeleton = wire.cut(memoryview(longer))
    assert not skeleton.is_cut
    assert skeleton.raw == longer
    assert skeleton.tensors


@pytest.mark.parametrize("raw", [b"\x0a", b"\x0a\x05ab", b"\x07", b"\x00\x00", b"\xff" * 12, b"\x09\x00"])
def test_bytes_that_are_not_a_message_are_malformed(raw):
    with pytest.raises(wire.Malformed):
        wire.cut(memoryview(raw))


def test_messages_nested_too_deeply_stay_unchanged():
    raw = b""
    for _ in range(wire.MAX_DEPTH):
        for key in (b"2", b"*", b"\x0a"):  # a graph in an attribute in a node
            raw = key + wire.varint(len(raw)) + raw
    raw = b":" + wire.varint(len(raw)) + raw
    assert back(raw) == raw
