"""One tensor: how its elements are split into streams that take the fewest bytes.

::

    elements = mask of the non-zeros · values
    values   = table of the distinct ones · symbols      few distinct values
             | one stream per byte of the element        many: for floats the exponents, the mantissas
             | one after another                         very few values

A stream is coded bit by bit (`small_weights`) if that is smaller and the file's budget allows, otherwise in bulk
(`streams`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders import small_weights, streams
from onnx_compress.compiler.storage.container.coders.adaptive import Encoder
from onnx_compress.compiler.storage.container.coders.notes import BulkReader, BulkWriter, Notes
from onnx_compress.compiler.storage.container.coders.number_sets import ElementKind, code_scalars, code_table, ordered
from onnx_compress.compiler.storage.container.coders.small_weights import Grid, MaskField
from onnx_compress.compiler.storage.container.coders.streams import MOST_SYMBOLS, Stream
from onnx_compress.compiler.storage.container.distinct import Distinct, distinct

_TABLE, _BYTES, _SCALARS = _FORMS = range(3)
_BLOCK = 1 << 22
"""Maximum number of elements coded together."""
_MOST_SCALARS = 64
_FEWEST_ZEROS, _FEWEST_ZEROS_OF_TABLE = 1 / 64, 1 / 10
_BITS_OF_VALUE = 0.8
"""About which share of its bits a table's value takes: neighbours have their leading bits in common."""
_SMALL_ALPHABET, _FEW_SYMBOLS = 64, 256
_MOST_SAVED, _MOST_SAVED_OF_MASK = 0.15, 0.3
"""Upper bound, from experience, on the share of the bytes that coding bit by bit saves."""


@dataclass(frozen=True)
class TensorLayout:
    """Shape and kind of a tensor."""

    shape: tuple[int, ...]
    kind: ElementKind

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.count * self.kind.itemsize


def blocks(layout: TensorLayout) -> Iterator[TensorLayout]:
    """A tensor in separately coded pieces (rows, or parts of a vector), to bound memory."""
    if layout.count == 0:
        return
    row = layout.count // layout.shape[0] if layout.shape else 1
    if layout.count <= _BLOCK or row > _BLOCK:
        for start in range(0, layout.count, _BLOCK):
            yield TensorLayout((min(_BLOCK, layout.count - start),), layout.kind) if layout.count > _BLOCK else layout
        return
    step = _BLOCK // row
    for start in range(0, layout.shape[0], step):
        yield TensorLayout((min(step, layout.shape[0] - start), *layout.shape[1:]), layout.kind)


def write(notes: Notes, bulk: BulkWriter, layout: TensorLayout, data: bytes | memoryview) -> None:
    """Write a tensor's bytes."""
    start = 0
    for block in blocks(layout):
        _write_block(notes, bulk, block, np.frombuffer(data[start : start + block.nbytes], layout.kind.dtype))
        start += block.nbytes


def _write_block(notes: Notes, bulk: BulkWriter, layout: TensorLayout, words: np.ndarray) -> None:
    place = _Place(Grid.of(layout.shape))
    zeros = layout.count - np.count_nonzero(words)
    few = distinct(words)
    least = _FEWEST_ZEROS if few is None else _FEWEST_ZEROS_OF_TABLE
    if notes.flag("mask", bool(zeros > least * layout.count)):
        mask = words != 0
        place = _Place(place.grid, mask, _write_mask(notes, bulk, place.grid, mask))
        words, few = words[mask], few and few.without_zero(mask)
    _write_values(notes, bulk, place, layout.kind, words, few)


def read(notes: Notes, bulk: BulkReader, layout: TensorLayout) -> bytes:
    """Read a tensor's bytes. Raises ModelError."""
    return b"".join(_read_block(notes, bulk, block) for block in blocks(layout))


def _read_block(notes: Notes, bulk: BulkReader, layout: TensorLayout) -> bytes:
    grid = Grid.of(layout.shape)
    if not notes.flag("mask", False):
        return _read_values(notes, bulk, _Place(grid), layout.kind).tobytes()
    mask, period = _read_mask(notes, bulk, grid)
    words = np.zeros(layout.count, layout.kind.dtype)
    words[mask] = _read_values(notes, bulk, _Place(grid, mask, period), layout.kind)
    return words.tobytes()


@dataclass(frozen=True)
class _Place:
    """Where values stand: a grid, the flat mask of the present ones (None: all), and the period of the mask."""

    grid: Grid
    mask: np.ndarray | None = None
    period: int = 0

    @property
    def count(self) -> int:
        """Number of values."""
        return self.grid.size if self.mask is None else int(np.count_nonzero(self.mask))

    def stream(self, alphabet: int) -> Stream:
        """The stream of symbols at these places."""
        return Stream(self.grid, alphabet, self.count, self.mask)


# The mask.


def _write_mask(notes: Notes, bulk: BulkWriter, grid: Grid, mask: np.ndarray) -> int:
    """Write a flat mask; returns its period."""
    cube = mask.reshape(grid.shape)
    rows, columns = np.asarray(cube.any(axis=(1, 2))), np.asarray(cube.any(axis=(0, 2)))
    stream = Stream(grid, 2, grid.size)
    plan = streams.cheapest(stream, mask.astype(np.uint8))
    table = cube.reshape(grid.rows, -1)
    slow = _slow_bits(grid, int(rows.sum()), int(columns.sum()))
    trials: list[Encoder] = []
    field = _field(grid, rows, columns, 0)
    if slow <= min(notes.budget, notes.trials // 2) and slow / notes.patience < _MOST_SAVED_OF_MASK * plan.bits:
        notes.trials -= 2 * slow
        field = _field(grid, rows, columns, small_weights.period_of(table[rows]))
        trials = [Encoder(), Encoder()]
        small_weights.code_mask(trials[0], field, table)
        small_weights.code_mask(trials[1], field.transposed, table.T)
    best = min(trials, key=Encoder.cost, default=None)
    if best is None or not _pays(notes, best, plan.bits):
        notes.flag("mask bit by bit", False)
        streams.write(notes, bulk, stream, mask.astype(np.uint8), plan)
        return 0
    notes.flag("mask bit by bit", True)
    _code_liveness(notes, grid, rows.astype(int).tolist(), columns.astype(int).tolist())
    notes.spend(slow)
    by_columns = notes.flag("mask by columns", best is trials[1])
    period = 0 if by_columns else notes.number("period", field.period)
    notes.take(best)
    return period


def _slow_bits(grid: Grid, rows: int, columns: int) -> int:
    return grid.rows + grid.columns + rows * columns * grid.taps


def _field(grid: Grid, rows: np.ndarray, columns: np.ndarray, period: int) -> MaskField:
    lines, places = np.flatnonzero(rows).tolist(), np.flatnonzero(np.repeat(columns, grid.taps)).tolist()
    return MaskField(grid.rows, grid.columns * grid.taps, lines, places, period)


def _code_liveness(
    notes: Notes, grid: Grid, rows: list[int] | int, columns: list[int] | int
) -> tuple[list[int], list[int]]:
    """Code which rows and columns have non-zeros; the single row of a vector is not coded."""
    live_rows = [1] if grid.rows == 1 else notes.live.code(notes.coder, rows, keep=True)
    return live_rows, notes.live.code(notes.coder, columns, keep=False)


def _read_mask(notes: Notes, bulk: BulkReader, grid: Grid) -> tuple[np.ndarray, int]:
    """A flat mask and its period."""
    if not notes.flag("mask bit by bit", False):
        return streams.read(notes, bulk, Stream(grid, 2, grid.size)).astype(bool), 0
    notes.check(grid.rows + grid.columns)
    rows, columns = (np.array(each, bool) for each in _code_liveness(notes, grid, grid.rows, grid.columns))
    notes.spend(_slow_bits(grid, int(rows.sum()), int(columns.sum())))
    if notes.flag("mask by columns", False):
        return small_weights.code_mask(notes.coder, _field(grid, rows, columns, 0).transposed, None).T.reshape(-1), 0
    period = notes.number("period", 0)
    if period > small_weights.LONGEST_PERIOD or period == 1:
        raise ModelError("a mask in it has an impossible period: the file is damaged")
    return small_weights.code_mask(notes.coder, _field(grid, rows, columns, period), None).reshape(-1), period


# The values.


def _write_values(
    notes: Notes, bulk: BulkWriter, place: _Place, kind: ElementKind, words: np.ndarray, few: Distinct | None
) -> None:
    if len(words) == 0:
        return
    planes = _planes(words, kind)
    form = _form(kind, planes, few)
    notes.choice("form", form, len(_FORMS))
    if form == _TABLE and few is not None:
        table = ordered(few.table, kind)
        notes.number("table", len(table) - 1)
        code_table(notes, kind, table, len(table))
        symbols = np.argsort(table)[few.ranks]  # ranks are in the order of the words, symbols in that of the values
        _write_stream(notes, bulk, place.stream(len(table)), place.period, symbols)
    elif form == _SCALARS:
        code_scalars(notes, kind, words, len(words))
    else:
        for plane in planes:
            _write_stream(notes, bulk, place.stream(256), 0, plane)


def _read_values(notes: Notes, bulk: BulkReader, place: _Place, kind: ElementKind) -> np.ndarray:
    count = place.count
    if count == 0:
        return np.zeros(0, kind.dtype)
    form = notes.choice("form", 0, len(_FORMS))
    if form == _TABLE:
        length = notes.number("table", 0) + 1
        if length > MOST_SYMBOLS:
            raise ModelError("a table in it is too long: the file is damaged")
        table = code_table(notes, kind, None, length)
        return np.asarray(table[_read_stream(notes, bulk, place.stream(length), place.period)])
    if form == _SCALARS:
        return code_scalars(notes, kind, None, count)
    planes = [_read_stream(notes, bulk, place.stream(256), 0) for _ in range(kind.itemsize)]
    return _joined(planes, kind)


def _form(kind: ElementKind, planes: list[np.ndarray], few: Distinct | None) -> int:
    """The form with the fewest bits, estimated from entropies."""
    if few is not None and len(few.table) <= MOST_SYMBOLS:
        table = _entropy(np.bincount(few.ranks)) + _BITS_OF_VALUE * kind.bits * len(few.table)
        if table < sum(_entropy(np.bincount(plane, minlength=256)) for plane in planes):
            return _TABLE
    return _SCALARS if len(planes[0]) <= _MOST_SCALARS else _BYTES


def _entropy(counts: np.ndarray) -> float:
    used = counts[counts > 0]
    return float(used @ (np.log2(used.sum()) - np.log2(used)))


def _planes(words: np.ndarray, kind: ElementKind) -> list[np.ndarray]:
    """The elements' bytes by significance, the highest first; a float's sign moves to the end, behind the mantissa."""
    if kind.is_float:
        words = words << kind.dtype.type(1) | words >> kind.dtype.type(kind.bits - 1)
    columns = np.ascontiguousarray(words, kind.dtype).view(np.uint8).reshape(-1, kind.itemsize)
    return [np.ascontiguousarray(columns[:, place]) for place in range(kind.itemsize - 1, -1, -1)]


def _joined(planes: list[np.ndarray], kind: ElementKind) -> np.ndarray:
    columns = np.empty((len(planes[0]), kind.itemsize), np.uint8)
    for place, plane in enumerate(reversed(planes)):
        columns[:, place] = plane
    words: np.ndarray = columns.view(kind.dtype).reshape(-1)
    return words >> kind.dtype.type(1) | words << kind.dtype.type(kind.bits - 1) if kind.is_float else words


def _write_stream(notes: Notes, bulk: BulkWriter, stream: Stream, period: int, symbols: np.ndarray) -> None:
    plan = streams.cheapest(stream, symbols)
    bits = _sequential_bits(stream)
    trial = Encoder()
    if plan.method != streams.ONE and _is_promising(notes, stream, plan.bits):
        notes.trials -= bits
        small_weights.code_symbols(trial, *_where(stream), stream.alphabet, period, symbols)
    if not notes.flag("symbols bit by bit", bool(trial.bits) and _pays(notes, trial, plan.bits)):
        streams.write(notes, bulk, stream, symbols, plan)
        return
    notes.spend(bits)
    notes.take(trial)


def _is_promising(notes: Notes, stream: Stream, others: float) -> bool:
    """Whether coding bit by bit may pay and fits the budget: large alphabets take long and save little."""
    bits = _sequential_bits(stream)
    is_small = stream.alphabet <= _SMALL_ALPHABET or stream.count <= _FEW_SYMBOLS
    return is_small and bits <= min(notes.budget, notes.trials) and bits / notes.patience < _MOST_SAVED * others


def _pays(notes: Notes, trial: Encoder, others: float) -> bool:
    """Whether coding bit by bit saves enough bits for its time."""
    return 8 * trial.cost() + len(trial.bits) / notes.patience < others


def _read_stream(notes: Notes, bulk: BulkReader, stream: Stream, period: int) -> np.ndarray:
    if not notes.flag("symbols bit by bit", False):
        return streams.read(notes, bulk, stream)
    notes.spend(_sequential_bits(stream))
    symbols = small_weights.code_symbols(notes.coder, *_where(stream), stream.alphabet, period, None)
    if int(symbols.max(initial=0)) >= stream.alphabet:
        raise ModelError("a stream holds symbols beyond its alphabet: the file is damaged")
    return symbols


def _sequential_bits(stream: Stream) -> int:
    return stream.count * max((stream.alphabet - 1).bit_length(), 1)


def _where(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (column · taps + tap) of each symbol."""
    places = np.arange(stream.count) if stream.mask is None else np.flatnonzero(stream.mask)
    width = stream.grid.columns * stream.grid.taps
    return places // width, places % width
