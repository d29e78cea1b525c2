"""Streams of symbols below 257 that are coded in bulk: of several codes the one that needs the fewest bytes.

====================  ===========================================================================
one symbol            nothing
fixed                 as many bits as the alphabet needs
zstandard             for what repeats itself
canonical Huffman     `huffman`
range                 constriction's range coder with the frequencies of each context (`contexts`)
====================  ===========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import zstandard

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container import contexts as context_classes
from onnx_compress.compiler.storage.container import huffman
from onnx_compress.compiler.storage.container.contexts import CLASSES, Contexts
from onnx_compress.compiler.storage.container.notes import BulkReader, BulkWriter, Notes
from onnx_compress.compiler.storage.container.sequential import Grid, code_numbers

ONE, FIXED, ZSTD, HUFFMAN, RANGE = METHODS = range(5)
MOST_SYMBOLS = 256
_FEWEST_FOR_CLASSES = 2000
_FREQUENCY_BITS = 14
_WORD = np.dtype("<u4")
_SLOW_ZSTD, _FAST_ZSTD, _SLOW_BYTES, _FEW_BYTES = 19, 1, 1 << 20, 1 << 12
"""The slow level is tried on few bytes, and on more where the fast one beats all other codes."""


@dataclass(frozen=True)
class Stream:
    """Symbols 0 … alphabet − 1 that stand at the places of a grid where `mask` (flat) is True; None: everywhere."""

    grid: Grid
    alphabet: int
    count: int
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class _Plan:
    """A method and the bits it takes, with what it needs to go ahead."""

    method: int
    bits: float
    contexts: Contexts | None = None
    frequencies: dict[int, np.ndarray] | None = None
    data: bytes = b""


def cheapest(stream: Stream, symbols: np.ndarray) -> _Plan:
    """How the symbols are coded in the fewest bytes."""
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
    """A Huffman code, unless it can't be better than the others or there is none."""
    used = np.flatnonzero(counts)
    around = 2.5 * (used[-1] - used[0] + 1) + 14 * huffman.lanes_of(stream.count)
    if huffman.least_bits(counts) + around >= others:
        return []
    lengths = huffman.lengths_of(counts)
    if not huffman.is_complete(lengths):
        return []
    return [_Plan(HUFFMAN, float(counts @ lengths) + around, frequencies={0: lengths})]


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
    size, chosen = CLASSES * stream.alphabet, 0
    if contexts.is_plain:
        table = np.bincount(symbols, minlength=stream.alphabet).reshape(1, -1)
    else:
        table = np.bincount(_places(stream, contexts) * np.int64(stream.alphabet) + symbols, minlength=size).reshape(
            CLASSES, -1
        )
    bits, frequencies = 64 + context_classes.cost(contexts), {}
    for chosen, counts in enumerate(table):
        if counts.any():
            frequencies[chosen] = _quantized(counts)
            used = counts > 0
            bits += float(counts[used] @ (_frequency_bits(counts.sum()) - np.log2(frequencies[chosen][used])))
            bits += 7 * int(used.sum()) + 16
    return _Plan(RANGE, bits, contexts, frequencies)


def _places(stream: Stream, contexts: Contexts) -> np.ndarray:
    """The context of each symbol."""
    everywhere: np.ndarray = contexts.of_all()
    return everywhere if stream.mask is None else np.asarray(everywhere[stream.mask])


def _frequency_bits(count: int) -> int:
    """Frequencies are parts of 2 to this power: more where there are more symbols, but enough for each to have one."""
    return int(min(max(int(count).bit_length() + 1, 8), _FREQUENCY_BITS))


def _quantized(counts: np.ndarray) -> np.ndarray:
    """Frequencies that add up to the power of two for so many symbols, at least 1 for each that occurs."""
    total = 1 << _frequency_bits(counts.sum())
    parts: np.ndarray = np.maximum(np.rint(counts * (total / counts.sum())).astype(np.int64), counts > 0)
    while parts.sum() != total:
        largest = int(parts.argmax())
        excess = int(parts.sum()) - total
        parts[largest] -= min(excess, int(parts[largest]) // 2) if excess > 0 else excess
    return parts


def write(notes: Notes, bulk: BulkWriter, stream: Stream, symbols: np.ndarray, plan: _Plan) -> None:
    """Write symbols as planned."""
    notes.choice("stream", plan.method, len(METHODS))
    if plan.method == ONE:
        notes.number("the one", int(symbols[0]) if len(symbols) else 0)
    elif plan.method == FIXED:
        bulk.write(_packed(symbols, _width(stream.alphabet)))
    elif plan.method == ZSTD:
        notes.number("zstd bytes", len(plan.data))
        bulk.write(plan.data)
    elif plan.method == HUFFMAN and plan.frequencies is not None:
        _write_huffman(notes, bulk, symbols, plan.frequencies[0])
    elif plan.contexts is not None and plan.frequencies is not None:
        _write_range(notes, bulk, stream, symbols, plan.contexts, plan.frequencies)


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
    """Exactly `count` bytes, and never more memory than those. Raises ModelError."""
    try:
        with decompressor.stream_reader(data) as reader:
            found = reader.read(count + 1)
    except zstandard.ZstdError:
        raise ModelError("a zstandard stream in it is damaged") from None
    if len(found) != count:
        raise ModelError("a zstandard stream in it has another length than declared: the file is damaged")
    return found


def _span(notes: Notes, table: np.ndarray) -> tuple[int, int]:
    """The first and last entry of a table that is not 0, coded."""
    used = np.flatnonzero(table)
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
    first = notes.number("first symbol", first)
    last = first + notes.number("symbols", last - first)
    if last >= len(table):
        raise ModelError("a table is longer than its alphabet: the file is damaged")
    return first, last + 1


def _write_huffman(notes: Notes, bulk: BulkWriter, symbols: np.ndarray, lengths: np.ndarray) -> None:
    first, end = _span(notes, lengths)
    code_numbers(notes.coder, notes.adaptive, "code length", lengths[first:end].tolist())
    data, sizes = huffman.encode(symbols, lengths)
    least = min(sizes)
    notes.number("lane bytes", least)
    code_numbers(notes.coder, notes.adaptive, "lane", [size - least for size in sizes])
    bulk.write(data)


def _read_huffman(notes: Notes, bulk: BulkReader, stream: Stream) -> np.ndarray:
    lengths = np.zeros(stream.alphabet, np.int64)
    first, end = _span(notes, lengths)
    lengths[first:end] = np.minimum(code_numbers(notes.coder, notes.adaptive, "code length", end - first), 63)
    if not huffman.is_complete(lengths):
        raise ModelError("a Huffman code in it is none: the file is damaged")
    least = notes.number("lane bytes", 0)
    sizes = [least + more for more in code_numbers(notes.coder, notes.adaptive, "lane", huffman.lanes_of(stream.count))]
    return huffman.decode(bulk.read(sum(sizes)), sizes, stream.count, lengths)


def _write_range(
    notes: Notes,
    bulk: BulkWriter,
    stream: Stream,
    symbols: np.ndarray,
    contexts: Contexts,
    frequencies: dict[int, np.ndarray],
) -> None:
    context_classes.code(notes, contexts, stream.count, reading=False)
    coder = constriction.stream.queue.RangeEncoder()
    places = None if contexts.is_plain else _places(stream, contexts)
    for chosen, parts in frequencies.items():
        group = symbols if places is None else symbols[places == chosen]
        first, end = _span(notes, parts)
        code_numbers(notes.coder, notes.adaptive, "frequency", parts[first:end].tolist())
        if end - first > 1:
            coder.encode((group - first).astype(np.int32), _model(parts[first:end]))
    data = coder.get_compressed().astype(_WORD).tobytes().rstrip(b"\0")
    notes.number("range bytes", len(data))
    bulk.write(data)


def _model(parts: np.ndarray) -> Any:
    # Integers over a power of two: see `adaptive` on why this is the same everywhere.
    return constriction.stream.model.Categorical(parts / float(parts.sum()), perfect=False)


def _read_range(notes: Notes, bulk: BulkReader, stream: Stream) -> np.ndarray:
    contexts = context_classes.code(notes, Contexts(stream.grid), stream.count, reading=True)
    places = None if contexts.is_plain else _places(stream, contexts)
    counts = np.array([stream.count]) if places is None else np.bincount(places, minlength=CLASSES)
    tables = {chosen: _read_frequencies(notes, stream, int(counts[chosen])) for chosen in np.flatnonzero(counts)}
    data = bulk.read(notes.number("range bytes", 0))
    padded = data + bytes(-len(data) % _WORD.itemsize + 2 * _WORD.itemsize)
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, _WORD).astype(np.uint32))
    groups = [_decoded(decoder, parts, first, int(counts[chosen])) for chosen, (first, parts) in tables.items()]
    if places is None:
        return groups[0] if groups else np.zeros(0, np.int64)
    symbols = np.empty(stream.count, np.uint8)
    symbols[np.argsort(places, kind="stable")] = np.concatenate(groups)
    return symbols


def _read_frequencies(notes: Notes, stream: Stream, count: int) -> tuple[int, np.ndarray]:
    first, end = _span(notes, np.zeros(stream.alphabet))
    parts = np.array(code_numbers(notes.coder, notes.adaptive, "frequency", end - first), object)
    if sum(parts) != 1 << _frequency_bits(count):
        raise ModelError("frequencies in it do not add up: the file is damaged")
    return first, parts.astype(np.int64)


def _decoded(decoder: Any, parts: np.ndarray, first: int, count: int) -> np.ndarray:
    if len(parts) == 1:
        return np.full(count, first)
    try:
        symbols: np.ndarray = decoder.decode(_model(parts), count) + first
    except (AssertionError, ValueError):
        raise ModelError("a range-coded stream in it is damaged") from None
    return symbols
