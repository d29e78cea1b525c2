"""Streams over alphabets of at most 256 symbols, coded in bulk with the method that takes the fewest bytes.

====================  ===========================================================================
one symbol            nothing
fixed                 fixed-width codes, as wide as the alphabet needs
zstandard             for repeated sequences
canonical Huffman     `huffman`
range                 constriction's range coder, with a frequency table per context (`contexts`)
====================  ===========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import zstandard

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders import contexts as context_classes
from onnx_compress.compiler.storage.container.coders import frequencies, huffman
from onnx_compress.compiler.storage.container.coders.adaptive import WORD
from onnx_compress.compiler.storage.container.coders.contexts import CLASSES, Contexts
from onnx_compress.compiler.storage.container.coders.notes import BulkReader, BulkWriter, Notes
from onnx_compress.compiler.storage.container.coders.small_weights import Grid, code_levels

ONE, FIXED, ZSTD, HUFFMAN, RANGE = METHODS = range(5)
MOST_SYMBOLS = 256
_FEWEST_FOR_CLASSES = 2000
_SLOW_ZSTD, _FAST_ZSTD, _SLOW_BYTES, _FEW_BYTES = 19, 1, 1 << 20, 1 << 12
"""The slow level is tried on streams up to `_FEW_BYTES`, and up to `_SLOW_BYTES` if the fast level beats all others."""


@dataclass(frozen=True)
class Stream:
    """`count` symbols 0 … alphabet − 1 at the places of a grid where `mask` (flat) is True; None: everywhere."""

    grid: Grid
    alphabet: int
    count: int
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class _Plan:
    """A coding method, the bits it takes, and its precomputed data."""

    method: int
    bits: float
    contexts: Contexts | None = None
    tables: dict[int, np.ndarray] | None = None
    data: bytes = b""


def cheapest(stream: Stream, symbols: np.ndarray) -> _Plan:
    """The plan that codes the symbols in the fewest bytes."""
    counts = np.bincount(symbols, minlength=stream.alphabet)
    if stream.count == 0 or counts.max() == stream.count:
        return _Plan(ONE, 8)
    plans = [_Plan(FIXED, stream.count * _width(stream.alphabet)), *_ranges(stream, symbols, counts)]
    best = min(plans, key=_bits)
    best = min((best, *_huffman(stream, counts, best.bits)), key=_bits)
    return min(best, _zstandard(symbols, best.bits), key=_bits)


def _bits(plan: _Plan) -> float:
    return plan.bits


def _width(alphabet: int) -> int:
    return max((alphabet - 1).bit_length(), 1)


def _zstandard(symbols: np.ndarray, others: float) -> _Plan:
    raw = symbols.astype(np.uint8).tobytes()
    data = _zstandard_of(raw, _FAST_ZSTD)
    if len(raw) <= _FEW_BYTES or (len(raw) <= _SLOW_BYTES and 8 * len(data) < others):
        data = _zstandard_of(raw, _SLOW_ZSTD)
    return _Plan(ZSTD, 8 * len(data) + 16, data=data)


def _zstandard_of(raw: bytes, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_content_size=False, write_checksum=False).compress(raw)


def _huffman(stream: Stream, counts: np.ndarray, others: float) -> list[_Plan]:
    """A Huffman code, unless it can't beat `others` bits or none exists."""
    used = np.flatnonzero(counts)
    around = 2.5 * (used[-1] - used[0] + 1) + 14 * huffman.lanes_of(stream.count)
    if huffman.least_bits(counts) + around >= others:
        return []
    lengths = huffman.lengths_of(counts)
    if not huffman.is_complete(lengths):
        return []
    return [_Plan(HUFFMAN, float(counts @ lengths) + around, tables={0: lengths})]


def _ranges(stream: Stream, symbols: np.ndarray, counts: np.ndarray) -> list[_Plan]:
    found = [Contexts(stream.grid)]
    if stream.count >= _FEWEST_FOR_CLASSES:
        with np.errstate(divide="ignore"):
            carried = -np.log2(counts / stream.count)
        if stream.alphabet == 2:
            carried = np.array([0.0, 1.0])
        found = context_classes.candidates(stream.grid, carried[symbols], stream.mask)
    return [_range(stream, symbols, contexts) for contexts in found]


def _range(stream: Stream, symbols: np.ndarray, contexts: Contexts) -> _Plan:
    counts = np.bincount(symbols, minlength=stream.alphabet)[None]
    if not contexts.is_plain:
        joint = _places(stream, contexts).astype(np.uint16) * np.uint16(stream.alphabet) + symbols.astype(np.uint16)
        counts = np.bincount(joint, minlength=CLASSES * stream.alphabet).reshape(CLASSES, -1)
    tables = {chosen: frequencies.rounded(counts[chosen]) for chosen in np.flatnonzero(counts.any(axis=1)).tolist()}
    bits = 64 + context_classes.cost(contexts) + sum(frequencies.cost(table) for table in tables.values())
    bits += sum(_bits_of(counts[chosen], table) for chosen, table in tables.items())
    return _Plan(RANGE, bits, contexts, tables)


def _bits_of(counts: np.ndarray, parts: np.ndarray) -> float:
    used = counts > 0
    return float(counts[used] @ (np.log2(parts.sum()) - np.log2(parts[used])))


def _places(stream: Stream, contexts: Contexts) -> np.ndarray:
    """The context of each symbol."""
    everywhere: np.ndarray = contexts.of_all()
    return everywhere if stream.mask is None else np.asarray(everywhere[stream.mask])


def write(notes: Notes, bulk: BulkWriter, stream: Stream, symbols: np.ndarray, plan: _Plan) -> None:
    """Write the symbols with the method of `plan`."""
    notes.choice("stream", plan.method, len(METHODS))
    if plan.method == ONE:
        notes.number("the one", int(symbols[0]) if len(symbols) else 0)
    elif plan.method == FIXED:
        bulk.write(_packed(symbols, _width(stream.alphabet)))
    elif plan.method == ZSTD:
        notes.number("zstd bytes", len(plan.data))
        bulk.write(plan.data)
    elif plan.method == HUFFMAN and plan.tables is not None:
        _write_huffman(notes, bulk, symbols, plan.tables[0])
    elif plan.contexts is not None and plan.tables is not None:
        _write_range(notes, bulk, stream, symbols, plan.contexts, plan.tables)


def read(notes: Notes, bulk: BulkReader, stream: Stream) -> np.ndarray:
    """Read the symbols. Raises ModelError."""
    method = notes.choice("stream", 0, len(METHODS))
    if method == ONE:
        symbols = np.full(stream.count, notes.number("the one", 0) & 0xFF)
    elif method == FIXED:
        width = _width(stream.alphabet)
        symbols = _unpacked(bulk.read((stream.count * width + 7) // 8), stream.count, width)
    elif method == ZSTD:
        symbols = _unzstandard(bulk.read(notes.number("zstd bytes", 0)), stream.count)
    elif method == HUFFMAN:
        symbols = _read_huffman(notes, bulk, stream)
    else:
        symbols = _read_range(notes, bulk, stream)
    if symbols.size and int(symbols.max()) >= stream.alphabet:
        raise ModelError("a stream holds symbols beyond its alphabet: the file is damaged")
    return symbols


def _packed(symbols: np.ndarray, width: int) -> bytes:
    return np.packbits(np.unpackbits(symbols.astype(np.uint8)[:, None], axis=1)[:, 8 - width :]).tobytes()


def _unpacked(data: bytes, count: int, width: int) -> np.ndarray:
    if width == 8:
        return np.frombuffer(data, np.uint8)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width).reshape(count, width)
    return np.packbits(bits, axis=1).reshape(-1) >> (8 - width)


def _unzstandard(data: bytes, count: int) -> np.ndarray:
    return np.frombuffer(unzstandard(zstandard.ZstdDecompressor(), data, count), np.uint8)


def unzstandard(decompressor: zstandard.ZstdDecompressor, data: bytes, count: int) -> bytes:
    """Exactly `count` decompressed bytes, without allocating more. Raises ModelError."""
    try:
        with decompressor.stream_reader(data) as reader:
            found = reader.read(count + 1)
    except zstandard.ZstdError:
        raise ModelError("a zstandard stream in it is damaged") from None
    if len(found) != count:
        raise ModelError("a zstandard stream in it has another length than declared: the file is damaged")
    return found


def _write_huffman(notes: Notes, bulk: BulkWriter, symbols: np.ndarray, lengths: np.ndarray) -> None:
    first, end = frequencies.span(notes, lengths)
    code_levels(notes.coder, notes.adaptive, "code length", lengths[first:end].tolist())
    data, sizes = huffman.encode(symbols, lengths)
    least = min(sizes)
    notes.number("lane bytes", least)
    for size in sizes:
        notes.number("lane", size - least)
    bulk.write(data)


def _read_huffman(notes: Notes, bulk: BulkReader, stream: Stream) -> np.ndarray:
    lengths = np.zeros(stream.alphabet, np.int64)
    first, end = frequencies.span(notes, lengths)
    lengths[first:end] = code_levels(notes.coder, notes.adaptive, "code length", end - first)
    if not huffman.is_complete(lengths):
        raise ModelError("a Huffman code in it is invalid: the file is damaged")
    least = notes.number("lane bytes", 0)
    sizes = [least + notes.number("lane", 0) for _ in range(huffman.lanes_of(stream.count))]
    return huffman.decode(bulk.read(sum(sizes)), sizes, stream.count, lengths)


def _write_range(
    notes: Notes,
    bulk: BulkWriter,
    stream: Stream,
    symbols: np.ndarray,
    contexts: Contexts,
    tables: dict[int, np.ndarray],
) -> None:
    context_classes.code(notes, contexts, stream.count, reading=False)
    coder = constriction.stream.queue.RangeEncoder()
    places = None if contexts.is_plain else _places(stream, contexts)
    for chosen, parts in tables.items():
        group = symbols if places is None else symbols[places == chosen]
        frequencies.code(notes, parts, stream.alphabet, len(group))
        if np.count_nonzero(parts) > 1:
            coder.encode(group.astype(np.int32), _model(parts))
    data = coder.get_compressed().astype(WORD).tobytes().rstrip(b"\0")
    notes.number("range bytes", len(data))
    bulk.write(data)


def _model(parts: np.ndarray) -> Any:
    # Integers over a power of two: exact on every machine, see `adaptive`.
    return constriction.stream.model.Categorical(parts / float(parts.sum()), perfect=False)


def _read_range(notes: Notes, bulk: BulkReader, stream: Stream) -> np.ndarray:
    contexts = context_classes.code(notes, Contexts(stream.grid), stream.count, reading=True)
    places = None if contexts.is_plain else _places(stream, contexts)
    counts = np.array([stream.count]) if places is None else np.bincount(places, minlength=CLASSES)
    groups = [(int(count), frequencies.code(notes, None, stream.alphabet, int(count))) for count in counts if count]
    data = bulk.read(notes.number("range bytes", 0))
    padded = data + bytes(-len(data) % WORD.itemsize + 2 * WORD.itemsize)
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, WORD).astype(np.uint32))
    decoded = [_decoded(decoder, parts, count) for count, parts in groups]
    if places is None:
        return decoded[0]
    symbols = np.empty(stream.count, np.uint8)
    symbols[np.argsort(places, kind="stable")] = np.concatenate(decoded)
    return symbols


def _decoded(decoder: Any, parts: np.ndarray, count: int) -> np.ndarray:
    if np.count_nonzero(parts) == 1:
        return np.full(count, parts.argmax())
    try:
        return np.asarray(decoder.decode(_model(parts), count))
    except (AssertionError, ValueError):
        raise ModelError("a range-coded stream in it is damaged") from None
