"""Pack a model with all its files, and unpack the same bytes.

Sections: the graph (the sizes of the data files and the `skeleton`, compressed by zstandard), the notes, then bulk.
The tensors of the model file come first, in order, then those of the data files.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

import zstandard

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container import data_files, tensors, wire
from onnx_compress.compiler.storage.container.coders.adaptive import Decoder, Encoder
from onnx_compress.compiler.storage.container.coders.notes import BulkReader, BulkWriter, Notes
from onnx_compress.compiler.storage.container.coders.number_sets import ElementKind
from onnx_compress.compiler.storage.container.coders.streams import unzstandard
from onnx_compress.compiler.storage.container.sections import SectionReader, SectionWriter
from onnx_compress.compiler.storage.container.tensors import TensorLayout
from onnx_compress.compiler.storage.container.vocabulary import VOCABULARY
from onnx_compress.compiler.storage.container.wire import MESSAGE_LIMIT, Piece, Skeleton

ALWAYS_BYTES = 1 << 28
MOST_EXPANSION = 1 << 10
"""A file may unpack to `ALWAYS_BYTES` plus this many times its own size: more is rejected as a decompression bomb."""
ALWAYS_BITS, BITS_PER_BYTE = 1 << 20, 1 << 7
"""The same limit for the bits of the notes: a byte can hold any number of them if they are predictable enough."""
MOST_FILES = 4096
_HELD = 1 << 26
_SMALL, _PATIENCE, _LESS_PATIENCE, _TRIALS = 1 << 21, 64, 16, 1 << 11
"""A model up to `_SMALL` bytes may spend 64 slowly coded bits per bit saved, a larger one 16. `_TRIALS`: trial bits
per unit of patience."""

_FLOATS = {1: 4, 10: 2, 11: 8, 16: 2}
_INTEGERS = {2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 12: 4, 13: 8, 17: 1, 18: 1, 19: 1, 20: 1}
"""Bytes per element, by the number of the type in onnx.TensorProto; other types are stored as plain bytes."""
_BYTE = ElementKind(1, False)


@dataclass(frozen=True)
class Packed:
    """Bytes of the input, of each part of the container, and of the whole container."""

    original: int
    graph: int
    notes: int
    bulk: int
    total: int


def pack(model: memoryview, read_data: Callable[[str], memoryview], out: BinaryIO) -> Packed:
    """Write the container of a serialized model to `out`; `read_data` returns the bytes of the data file at a location.

    Raises ModelError if the model is not a valid protobuf message.
    """
    try:
        skeleton = wire.cut(model)
    except wire.Malformed:
        raise ModelError("not an ONNX model, or the file is damaged") from None
    files = {location: read_data(location) for location in data_files.locations(skeleton.tensors)}
    graph = _graph(skeleton, list(map(len, files.values())))
    total = len(model) + sum(map(len, files.values()))
    encoder = Encoder()
    patience = _PATIENCE if total < _SMALL else _LESS_PATIENCE
    notes = Notes(encoder, patience=patience, trials=patience * _TRIALS)
    with tempfile.SpooledTemporaryFile(_HELD) as held:
        lengths: list[int] = []

        def emit(section: bytes) -> None:
            lengths.append(len(section))
            held.write(section)

        bulk = BulkWriter(emit)
        crc = zlib.crc32(model)
        for hole, data in zip(skeleton.holes, skeleton.data):
            _write_tensor(notes, bulk, hole.data_type, hole.tensor.dims, data)
        for location, data in files.items():
            crc = zlib.crc32(data, crc)
            for stretch in data_files.stretches(skeleton.tensors, location, len(data)):
                _write_tensor(notes, bulk, stretch.data_type, stretch.dims, data[stretch.start : stretch.stop])
        bulk.close()
        held.seek(0)
        written = crc.to_bytes(4, "little") + encoder.getvalue()
        written += bytes(_padding(len(encoder.bits), total, len(written), len(graph) + sum(lengths)))
        sections = SectionWriter(out)
        sections.write(graph)
        sections.write(written)
        for length in lengths:
            sections.write(held.read(length))
    return Packed(total, len(graph), len(written), sum(lengths), sections.written)


def _padding(bits: int, total: int, notes: int, others: int) -> int:
    """Number of zero bytes that keep an extremely compressible file within the limits of unpacking."""
    for_bits = (bits - ALWAYS_BITS) // BITS_PER_BYTE + 1 - notes
    for_size = (total - ALWAYS_BYTES) // MOST_EXPANSION + 1 - notes - others
    return max(for_bits, for_size, 0)


def _graph(skeleton: Skeleton, sizes: Sequence[int]) -> bytes:
    """The graph section: whether the model was cut, the data files' sizes, the skeleton; preceded by the raw length."""
    raw = b"".join((bytes([skeleton.is_cut]), wire.varint(len(sizes)), *map(wire.varint, sizes), skeleton.raw))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        22 if len(raw) < 1 << 22 else 12,
        source_size=len(raw),
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=False,
        write_dict_id=False,
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=_dictionary())
    return wire.varint(len(raw)) + compressor.compress(raw)


def _dictionary() -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(VOCABULARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _layout(data_type: int, dims: Sequence[int]) -> TensorLayout:
    kind = ElementKind(_FLOATS.get(data_type) or _INTEGERS.get(data_type, 1), data_type in _FLOATS)
    return TensorLayout(tuple(dims), kind)


def _write_tensor(notes: Notes, bulk: BulkWriter, data_type: int, dims: Sequence[int], data: memoryview) -> None:
    layout = _layout(data_type, dims)
    if notes.flag("regular", _is_possible(dims) and layout.nbytes == len(data)):
        tensors.write(notes, bulk, layout, data)
        return
    notes.number("bytes", len(data))
    tensors.write(notes, bulk, TensorLayout((len(data),), _BYTE), data)


def _is_possible(dims: Sequence[int]) -> bool:
    return prod(dims) < 1 << 62


@dataclass(frozen=True)
class PackedDataFile:
    """A data file of a model: its location, as the model states it, and its size in bytes."""

    location: str
    size: int


class Archive:
    """An opened container. `files` are the model's data files. Raises ModelError if anything is damaged.

    Call `model` first, then `data` for each file in order.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._sections = SectionReader(file, size)
        self._limit = ALWAYS_BYTES + MOST_EXPANSION * size
        is_cut, sizes, raw = self._graph(self._sections.read())
        try:
            self._skeleton = wire.survey(raw) if is_cut else wire.whole(raw)
        except wire.Malformed:
            raise ModelError("the graph in it is damaged") from None
        locations = data_files.locations(self._skeleton.tensors)
        if len(locations) != len(sizes):
            raise ModelError("the data files in it do not match its graph: the file is damaged")
        self.files = [PackedDataFile(*each) for each in zip(locations, sizes)]
        self._spend(sum(sizes))
        notes = self._sections.read()
        self._crc, self._expected = 0, int.from_bytes(notes[:4], "little")
        self._notes = Notes(Decoder(notes[4:], ALWAYS_BITS + BITS_PER_BYTE * len(notes)))
        self._bulk = BulkReader(self._sections.rest())

    def _graph(self, section: bytes) -> tuple[bool, list[int], bytes]:
        try:
            length, place = wire.read_varint(memoryview(section), 0)
            self._spend(length)
            decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary(), format=zstandard.FORMAT_ZSTD1_MAGICLESS)
            raw = unzstandard(decompressor, section[place:], length)
            count, place = wire.read_varint(memoryview(raw), 1)
            sizes = []
            for _ in range(min(count, MOST_FILES + 1)):
                size, place = wire.read_varint(memoryview(raw), place)
                sizes.append(size)
        except (wire.Malformed, IndexError):
            raise ModelError("the graph in it is damaged") from None
        if len(sizes) > MOST_FILES:
            raise ModelError(f"it declares more than {MOST_FILES} data files: the file is damaged")
        return raw[0] == 1, sizes, raw[place:]

    def _spend(self, count: int) -> None:
        self._limit -= count
        if self._limit < 0:
            raise ModelError("refused: it declares far more bytes than a file of its size can hold")

    def model(self) -> Iterator[Piece]:
        """The bytes of the model file, in pieces."""
        data: list[Piece] = []
        for hole in self._skeleton.holes:
            data.append(self._tensor(hole.data_type, hole.tensor.dims, None))
        raw = self._skeleton.raw
        pieces = wire.fill(raw, data) if self._skeleton.is_cut else list[Piece]([raw])
        if sum(map(len, pieces)) > MESSAGE_LIMIT:
            raise ModelError("the model in it exceeds 2 GiB: the file is damaged")
        yield from self._checked(pieces, is_last=not self.files)

    def data(self, file: PackedDataFile) -> Iterator[Piece]:
        """The bytes of a data file, in pieces."""
        pieces = (
            self._tensor(stretch.data_type, stretch.dims, stretch.stop - stretch.start)
            for stretch in data_files.stretches(self._skeleton.tensors, file.location, file.size)
        )
        yield from self._checked(pieces, is_last=file == self.files[-1])

    def _checked(self, pieces: Iterator[Piece] | list[Piece], *, is_last: bool) -> Iterator[Piece]:
        for piece in pieces:
            self._crc = zlib.crc32(piece, self._crc)
            yield piece
        if is_last:
            self._bulk.close()
            if self._crc != self._expected:
                raise ModelError("the unpacked model does not match its checksum: the file is damaged")

    def _tensor(self, data_type: int, dims: Sequence[int], known: int | None) -> bytes:
        layout = _layout(data_type, dims)
        if not self._notes.flag("regular", False):
            layout = TensorLayout((self._notes.number("bytes", 0),), _BYTE)
        elif not _is_possible(dims):
            raise ModelError("a tensor in it has an impossible shape: the file is damaged")
        if known is None:
            self._spend(layout.nbytes)
        elif known != layout.nbytes:
            raise ModelError("the length of a tensor in it contradicts its data file: the file is damaged")
        return tensors.read(self._notes, self._bulk, layout)
