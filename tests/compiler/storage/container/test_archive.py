"""Whole models in containers: the same bytes after a round trip, or one clear error, in bounded time and memory."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container import archive, sections
from onnx_compress.compiler.storage.container.archive import Archive
from onnx_compress.compiler.storage.container.coders.adaptive import Encoder
from onnx_compress.compiler.storage.container.coders.notes import BulkWriter, Notes
from onnx_compress.compiler.storage.container.sections import SectionWriter
from tests.compiler.ir.everything import everything
from tests.small_models import MODELS, small_model


def packed(raw: bytes, files: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    sizes = archive.pack(memoryview(raw), lambda location: memoryview((files or {})[location]), out)
    assert sizes.total == len(out.getvalue())
    return out.getvalue()


def unpacked(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    opened = Archive(io.BytesIO(data), len(data))
    model = b"".join(opened.model())
    return model, {file.location: b"".join(opened.data(file)) for file in opened.files}


def sparse_model() -> bytes:
    """A model with zeros and few values: a mask and symbols coded bit by bit, others in bulk, floats and integers."""
    rng = np.random.default_rng(0)
    model = small_model("residual").proto()
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim > 1:
            array = np.where(rng.random(array.shape) < 0.2, np.sign(array), 0).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model.SerializeToString()


def small_sparse_model() -> bytes:
    w = np.zeros((20, 30), np.float32)
    w[::3, ::4] = np.random.default_rng(0).integers(1, 4, w[::3, ::4].shape)
    initializers = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(w[0] + np.float32(np.pi), "b")]
    return helper.make_model(helper.make_graph([], "g", [], [], initializers)).SerializeToString()


@pytest.mark.parametrize("name", MODELS)
def test_every_small_model_comes_back(name):
    raw = small_model(name).proto().SerializeToString()
    data = packed(raw)
    assert unpacked(data) == (raw, {})
    assert len(data) < len(raw)


def test_a_model_with_everything_comes_back():
    raw = everything().SerializeToString()
    assert unpacked(packed(raw))[0] == raw


def test_zeros_and_few_values_make_it_small():
    raw = sparse_model()
    assert len(packed(raw)) < len(raw) / 20


def test_twice_the_same_bytes():
    assert packed(sparse_model()) == packed(sparse_model())


dtypes = st.sampled_from([np.float32, np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_])


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    initializers = []
    for index in range(draw(st.integers(0, 4))):
        shape = draw(st.lists(st.integers(0, 12), max_size=4))
        rng = np.random.default_rng(draw(st.integers(0, 9)))
        array = rng.integers(-draw(st.integers(0, 100)), draw(st.integers(1, 100)), shape).astype(draw(dtypes))
        tensor = numpy_helper.from_array(array, f"t{index}")
        if draw(st.booleans()):
            del tensor.dims[:]
            tensor.dims.extend(draw(st.lists(st.integers(-5, 1 << 40), max_size=3)))
        if draw(st.booleans()):
            tensor.data_type = draw(st.integers(0, 40))
        initializers.append(tensor)
    nodes = [helper.make_node("Relu", ["x"], ["y"], name=draw(st.text(max_size=9)))]
    return helper.make_model(helper.make_graph(nodes, "g", [], [], initializers))


@settings(max_examples=80)
@given(models())
def test_any_model_comes_back(model):
    raw = model.SerializeToString()
    assert unpacked(packed(raw))[0] == raw


def external(**entries: str) -> TensorProto:
    tensor = TensorProto(name="w", dims=[100, 20], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_data_files_come_back_with_the_bytes_between_tensors():
    weights = np.random.default_rng(0).integers(0, 3, 2000).astype(np.float32).tobytes()
    tensors = [
        external(location="a.bin", offset="64", length="8000"),
        external(location="sub/b.bin", length="8000"),
        external(location="a.bin", offset="9000", length="8000"),
        external(location="a.bin", offset="64", length="8000"),  # shared
        external(location="a.bin", offset="4000", length="8000"),  # overlapping
        external(location="a.bin", offset="99999", length="8000"),  # beyond the end
        external(location="a.bin", offset="nowhere", length="8000"),
    ]
    raw = helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString()
    files = {"a.bin": b"\1" * 64 + weights + bytes(936) + weights + b"end", "sub/b.bin": weights}
    data = packed(raw, files)
    assert unpacked(data) == (raw, files)
    assert len(data) < 2500


def damaged(data: bytes) -> Iterator[bytes]:
    for place in range(len(data)):
        for value in (data[place] ^ 1, data[place] ^ 0x80, 0xFF):
            if value != data[place]:
                yield data[:place] + bytes([value]) + data[place + 1 :]
    for length in range(len(data)):
        yield data[:length]
    yield data + b"\0"
    yield data * 2


def test_every_damage_is_found():
    data = packed(small_sparse_model())
    count = 0
    for bad in damaged(data):
        count += 1
        with pytest.raises(ModelError) as caught:
            unpacked(bad)
        assert "\n" not in str(caught.value)
    assert count > 3 * len(data)


def resealed(parts: list[bytes]) -> bytes:
    """A container of these sections, with correct checksums."""
    out = io.BytesIO()
    writer = SectionWriter(out)
    for part in parts:
        writer.write(part)
    return out.getvalue()


def parts_of(data: bytes) -> list[bytes]:
    return list(sections.SectionReader(io.BytesIO(data), len(data)).rest())


def test_resealed_sections_give_the_same_container():
    data = packed(sparse_model())
    assert resealed(parts_of(data)) == data


def outcome(data: bytes, raw: bytes) -> str:
    """Why a container was refused; empty if it unpacked to `raw`."""
    try:
        found = unpacked(data)[0]
    except ModelError as error:
        return str(error)
    assert found == raw
    return ""


@pytest.mark.parametrize("part", [0, 1, 2])
def test_damage_with_correct_checksums_is_an_error_or_harmless(part):
    """A hostile writer's files: each section is changed, and its checksum corrected."""
    raw = sparse_model()
    data = packed(raw)
    rng = np.random.default_rng(part)
    started, refused = time.process_time(), 0
    for _ in range(120):
        parts = parts_of(data)
        bad = bytearray(parts[part])
        for _ in range(rng.integers(1, 4)):
            bad[int(rng.integers(0, len(bad)))] = int(rng.integers(0, 256))
        parts[part] = bytes(bad[: rng.integers(1, len(bad))] if rng.random() < 0.2 else bad)
        reason = outcome(resealed(parts), raw)
        assert "\n" not in reason
        refused += bool(reason)
    assert refused > 80
    assert time.process_time() - started < 80


def test_sections_can_not_be_swapped_or_left_out():
    data = packed(sparse_model())
    other = packed(small_model("tied").proto().SerializeToString())
    for parts in (parts_of(data)[:1], parts_of(data)[:-1], [*parts_of(data), b"more"], [], [b""] * 3):
        with pytest.raises(ModelError):
            unpacked(resealed(parts))
    with pytest.raises(ModelError):
        unpacked(resealed([parts_of(data)[0], *parts_of(other)[1:]]))


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"OCX\1\0", "not an .ocz file"),
        (b"OCZ\2\0", "format 2: a newer version of onnx-compress reads it"),
        (b"OCZ\1\7", "transform 7: a newer version of onnx-compress reads it"),
        (b"OCZ\1", "truncated"),
        (b"", "truncated"),
        (b"OCZ\1\0" + b"\xff" * 9, "invalid length"),
        (b"OCZ\1\0" + b"\xff" * 8 + b"\x7f", "truncated"),
    ],
)
def test_a_foreign_header(head, says):
    with pytest.raises(ModelError, match=says):
        unpacked(head + packed(sparse_model())[5:] if len(head) == 5 else head)


def hostile(dims: list[int], write: object, *, data_type: int = TensorProto.FLOAT) -> bytes:
    """A container whose only tensor declares `dims`; `write` fills its notes and bulk."""
    tensor = TensorProto(name="w", dims=dims, data_type=data_type, raw_data=b"")
    raw = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    encoder, bulk = Encoder(), list[bytes]()
    notes, writer = Notes(encoder), BulkWriter(bulk.append)
    notes.flag("regular", True)
    write(notes, writer)
    writer.close()
    graph = archive._graph(archive.wire.cut(memoryview(raw)), [])
    return resealed([graph, bytes(4) + encoder.getvalue(), *bulk])


def constant(notes: Notes, bulk: BulkWriter) -> None:
    notes.flag("mask", False)
    notes.choice("form", 0, 3)
    notes.number("table", 0)


def bit_by_bit(notes: Notes, bulk: BulkWriter) -> None:
    notes.flag("mask", True)
    notes.flag("mask bit by bit", True)


@pytest.mark.parametrize("write", [constant, bit_by_bit])
@pytest.mark.parametrize("dims", [[1 << 31], [1 << 20, 1 << 20], [1 << 62, 4], [(1 << 63) - 1], [1 << 25, 1]])
def test_a_bomb_is_refused_without_memory_or_time(dims, write):
    data = hostile(dims, write)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(ModelError):
        unpacked(data)
    assert time.process_time() - started < 20
    assert tracemalloc.get_traced_memory()[1] < 600 << 20
    tracemalloc.stop()


def test_a_bomb_of_zstandard_is_refused():
    bomb = zstandard.ZstdCompressor(level=19, write_content_size=False).compress(bytes(1 << 27))

    def write(notes: Notes, bulk: BulkWriter) -> None:
        notes.flag("mask", False)
        notes.choice("form", 1, 3)
        notes.flag("symbols bit by bit", False)
        notes.choice("stream", 2, 5)
        notes.number("zstd bytes", len(bomb))
        bulk.write(bomb)

    tracemalloc.start()
    with pytest.raises(ModelError, match="another length than declared"):
        unpacked(hostile([1000], write, data_type=TensorProto.UINT8))
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


@pytest.mark.parametrize("count", [1 << 28, 1 << 40])
def test_a_graph_that_declares_too_much_is_refused(count):
    data = resealed([archive.wire.varint(count) + b"x" * 20, bytes(8)])
    with pytest.raises(ModelError, match=r"refused|damaged"):
        unpacked(data)


def test_an_extremely_compressible_model_is_padded_so_that_it_unpacks(monkeypatch):
    monkeypatch.setattr(archive, "ALWAYS_BYTES", 1 << 10)
    monkeypatch.setattr(archive, "MOST_EXPANSION", 1 << 6)
    monkeypatch.setattr(archive, "ALWAYS_BITS", 1 << 4)
    monkeypatch.setattr(archive, "BITS_PER_BYTE", 1)
    tensor = numpy_helper.from_array(np.zeros((500, 1000), np.float32), "w")
    raw = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    data = packed(raw)
    assert len(raw) / len(data) < 1 << 6
    assert unpacked(data)[0] == raw
