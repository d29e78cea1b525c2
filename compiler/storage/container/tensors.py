"""One tensor: what its elements are, and which streams tell them in the fewest bytes.

::

    elements = mask of the non-zeros · values
    values   = table of the distinct ones · symbols      few distinct values
             | one stream for each byte                  many: of floats the exponents, the mantissas
             | one after another                         very few values

Each stream is coded bit by bit (`sequential`) while the file's budget lasts and where that is smaller, or in
bulk (`streams`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container import sequential, streams
from onnx_compress.compiler.storage.container.adaptive import Encoder
from onnx_compress.compiler.storage.container.notes import BulkReader, BulkWriter, Notes
from onnx_compress.compiler.storage.container.sequential import Grid
from onnx_compress.compiler.storage.container.streams import MOST_SYMBOLS, Stream
from onnx_compress.compiler.storage.container.values import Kind, code_scalars, code_table, ordered

_TABLE, _BYTES, _SCALARS = _FORMS = range(3)
_MOST_SCALARS = 64
_FEWEST_ZEROS, _FEWEST_ZEROS_OF_TABLE = 1 / 64, 1 / 10
_SAMPLE = 1 << 14


@dataclass(frozen=True)
class Layout:
    """Shape and kind of a tensor."""

    shape: tuple[int, ...]
    kind: Kind

    @property
    def count(self) -> int:
        """Elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.count * self.kind.itemsize


def write(notes: Notes, bulk: BulkWriter, layout: Layout, data: bytes | memoryview) -> None:
    """Write a tensor's bytes."""
    words = np.frombuffer(data, layout.kind.dtype)
    if layout.count == 0:
        return
    grid = Grid.of(layout.shape)
    table = _distinct(words)
    zeros = layout.count - np.count_nonzero(words)
    least = _FEWEST_ZEROS if table is None else _FEWEST_ZEROS_OF_TABLE
    mask = None
    if notes.flag("mask", bool(zeros > least * layout.count)):
        mask = words != 0
        _write_mask(notes, bulk, grid, mask)
        words = words[mask]
    _write_values(notes, bulk, grid, layout.kind, words, mask)


def read(notes: Notes, bulk: BulkReader, layout: Layout) -> bytes:
    """Read a tensor's bytes. Raises ModelError."""
    if layout.count == 0:
        return b""
    grid = Grid.of(layout.shape)
    if not notes.flag("mask", False):
        return _read_values(notes, bulk, grid, layout.kind, None).tobytes()
    mask = _read_mask(notes, bulk, grid)
    words = np.zeros(layout.count, layout.kind.dtype)
    words[mask] = _read_values(notes, bulk, grid, layout.kind, mask)
    return words.tobytes()


def _distinct(words: np.ndarray) -> np.ndarray | None:
    """The distinct words, when there are at most `MOST_SYMBOLS` that are not 0."""
    found = np.unique(words[:: len(words) // _SAMPLE + 1])
    if len(found) > MOST_SYMBOLS + 1:
        return None
    for start in range(0, len(words), _SAMPLE * 4):
        part = words[start : start + _SAMPLE * 4]
        places = np.minimum(np.searchsorted(found, part), len(found) - 1)
        unknown = part[found[places] != part]
        if len(unknown):
            found = np.union1d(found, unknown)
        if len(found) > MOST_SYMBOLS + 1:
            return None
    return found if np.count_nonzero(found) <= MOST_SYMBOLS else None


# The mask.


def _write_mask(notes: Notes, bulk: BulkWriter, grid: Grid, mask: np.ndarray) -> None:
    cube = mask.reshape(grid.shape)
    rows, columns = cube.any(axis=(1, 2)), cube.any(axis=(0, 2))
    alive = Grid(int(rows.sum()), int(columns.sum()), grid.taps)
    stream = Stream(grid, 2, grid.size)
    plan = streams.cheapest(stream, mask.astype(np.uint8))
    trials: list[Encoder] = []
    inner = cube[rows][:, columns].reshape(alive.rows, alive.columns * alive.taps)
    if grid.rows + grid.columns + alive.size <= notes.budget:
        for by_columns in (False, True)[: 1 + (alive.rows > 1)]:
            trials.append(Encoder())
            sequential.code_mask(trials[-1], alive, inner, by_columns=by_columns)
    best = min(trials, key=Encoder.cost, default=None)
    if not notes.flag("mask bit by bit", best is not None and 8 * best.cost() < plan.bits):
        streams.write(notes, bulk, stream, mask.astype(np.uint8), plan)
        return
    notes.spend(grid.rows + grid.columns)
    _code_liveness(notes, grid, rows.astype(int).tolist(), columns.astype(int).tolist())
    notes.spend(alive.size)
    if alive.rows > 1:
        notes.flag("mask by columns", best is trials[1])
    assert isinstance(notes.coder, Encoder)
    assert best is not None
    notes.coder.extend(best)


def _code_liveness(notes: Notes, grid: Grid, rows: list[int] | int, columns: list[int] | int) -> tuple[list[int], list[int]]:
    """Which rows and columns have non-zeros; a vector's only row goes without saying."""
    live_rows = [1] if grid.rows == 1 else notes.live.code(notes.coder, rows, keep=True)
    return live_rows, notes.live.code(notes.coder, columns, keep=False)


def _read_mask(notes: Notes, bulk: BulkReader, grid: Grid) -> np.ndarray:
    if not notes.flag("mask bit by bit", False):
        return streams.read(notes, bulk, Stream(grid, 2, grid.size)).astype(bool)
    notes.spend(grid.rows + grid.columns)
    rows, columns = (np.array(each, bool) for each in _code_liveness(notes, grid, grid.rows, grid.columns))
    alive = Grid(int(rows.sum()), int(columns.sum()), grid.taps)
    notes.spend(alive.size)
    by_columns = alive.rows > 1 and notes.flag("mask by columns", False)
    inner = sequential.code_mask(notes.coder, alive, None, by_columns=by_columns)
    cube = np.zeros(grid.shape, bool)
    cube[np.ix_(rows, columns)] = inner.reshape(alive.shape)
    return cube.reshape(-1)


# The values.


def _write_values(
    notes: Notes, bulk: BulkWriter, grid: Grid, kind: Kind, words: np.ndarray, mask: np.ndarray | None
) -> None:
    if len(words) == 0:
        return
    form, table = _form(words, kind)
    notes.choice("form", form, len(_FORMS))
    if form == _TABLE and table is not None:
        notes.number("table", len(table) - 1)
        code_table(notes, kind, table, len(table))
        rank = np.argsort(table)
        symbols = rank[np.searchsorted(table[rank], words)]
        _write_stream(notes, bulk, Stream(grid, len(table), len(words), mask), symbols)
    elif form == _SCALARS:
        code_scalars(notes, kind, words, len(words))
    else:
        for plane in _planes(words, kind):
            _write_stream(notes, bulk, Stream(grid, 256, len(words), mask), plane)


def _read_values(notes: Notes, bulk: BulkReader, grid: Grid, kind: Kind, mask: np.ndarray | None) -> np.ndarray:
    count = grid.size if mask is None else int(np.count_nonzero(mask))
    if count == 0:
        return np.zeros(0, kind.dtype)
    form = notes.choice("form", 0, len(_FORMS))
    if form == _TABLE:
        length = notes.number("table", 0) + 1
        if length > MOST_SYMBOLS:
            raise ModelError("a table in it is too long: the file is damaged")
        table = code_table(notes, kind, None, length)
        return table[_read_stream(notes, bulk, Stream(grid, length, count, mask))]
    if form == _SCALARS:
        return code_scalars(notes, kind, None, count)
    planes = [_read_stream(notes, bulk, Stream(grid, 256, count, mask)) for _ in range(kind.itemsize)]
    return _joined(planes, kind)


def _form(words: np.ndarray, kind: Kind) -> tuple[int, np.ndarray | None]:
    """What takes the fewest bits, by the entropies."""
    planes = sum(_entropy(np.bincount(plane, minlength=256)) for plane in _planes(words, kind))
    table = _distinct(words)
    if table is not None and len(table) <= MOST_SYMBOLS:
        table = ordered(table, kind)
        counts = np.bincount(np.searchsorted(np.sort(table), words))
        if _entropy(counts) + 0.8 * kind.bits * len(table) < planes:
            return _TABLE, table
    return (_SCALARS if len(words) <= _MOST_SCALARS else _BYTES), None


def _entropy(counts: np.ndarray) -> float:
    used = counts[counts > 0]
    return float(used @ (np.log2(used.sum()) - np.log2(used)))


def _planes(words: np.ndarray, kind: Kind) -> list[np.ndarray]:
    """The bytes of each place, the highest first; of floats the sign goes to the lowest, to leave the exponent alone."""
    if kind.is_float:
        words = words << kind.dtype.type(1) | words >> kind.dtype.type(kind.bits - 1)
    columns = np.ascontiguousarray(words, kind.dtype).view(np.uint8).reshape(-1, kind.itemsize)
    return [np.ascontiguousarray(columns[:, place]) for place in range(kind.itemsize - 1, -1, -1)]


def _joined(planes: list[np.ndarray], kind: Kind) -> np.ndarray:
    columns = np.empty((len(planes[0]), kind.itemsize), np.uint8)
    for place, plane in enumerate(reversed(planes)):
        columns[:, place] = plane
    words: np.ndarray = columns.view(kind.dtype).reshape(-1)
    return words >> kind.dtype.type(1) | words << kind.dtype.type(kind.bits - 1) if kind.is_float else words


def _write_stream(notes: Notes, bulk: BulkWriter, stream: Stream, symbols: np.ndarray) -> None:
    plan = streams.cheapest(stream, symbols)
    bits = _sequential_bits(stream)
    trial = Encoder()
    if plan.method != streams.ONE and bits <= notes.budget:
        sequential.code_symbols(trial, *_where(stream), stream.alphabet, symbols)
    if not notes.flag("symbols bit by bit", bool(trial.bits) and 8 * trial.cost() < plan.bits):
        streams.write(notes, bulk, stream, symbols, plan)
        return
    notes.spend(bits)
    assert isinstance(notes.coder, Encoder)
    notes.coder.extend(trial)


def _read_stream(notes: Notes, bulk: BulkReader, stream: Stream) -> np.ndarray:
    if not notes.flag("symbols bit by bit", False):
        return streams.read(notes, bulk, stream)
    notes.spend(_sequential_bits(stream))
    symbols = sequential.code_symbols(notes.coder, *_where(stream), stream.alphabet, None)
    if int(symbols.max(initial=0)) >= stream.alphabet:
        raise ModelError("a stream holds symbols beyond its alphabet: the file is damaged")
    return symbols


def _sequential_bits(stream: Stream) -> int:
    return stream.count * max((stream.alphabet - 1).bit_length(), 1)


def _where(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (taps counted in) of each symbol."""
    places = np.arange(stream.count) if stream.mask is None else np.flatnonzero(stream.mask)
    width = stream.grid.columns * stream.grid.taps
    return places // width, places % width
