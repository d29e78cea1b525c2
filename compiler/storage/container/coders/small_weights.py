"""Adaptive models of small weights: the positions of the non-zeros, and the symbol of each.

A weight is viewed as [rows, columns · taps]: rows are axis 0, columns axis 1, and taps all further axes (a
convolution's kernel). Both models run in both directions, see `adaptive`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from onnx_compress.compiler.storage.container.coders.adaptive import Adaptive, Coder, Mixer


@dataclass(frozen=True)
class Grid:
    """A weight's shape reduced to three axes."""

    rows: int
    columns: int
    taps: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Grid:
        """The grid of a shape; a vector is one row."""
        if len(shape) < 2:
            return cls(1, shape[0] if shape else 1, 1)
        return cls(shape[0], shape[1], prod(shape[2:]))

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.rows * self.columns * self.taps

    @property
    def shape(self) -> tuple[int, int, int]:
        """(rows, columns, taps)."""
        return self.rows, self.columns, self.taps


@dataclass
class Liveness:
    """Which rows and columns of the weights so far have non-zeros.

    A dead column is fed by a dead row of an earlier weight, so an axis is predicted from the last axis of the same
    length, or of a length that divides it (a Flatten in between).
    """

    _last: dict[int, list[int]] = field(default_factory=dict)

    def code(self, coder: Coder, live: list[int] | int, *, keep: bool) -> list[int]:
        """Code one bit per index; `live` are the bits or, when reading, their number.

        With `keep`, these bits predict later ones.
        """
        count = live if isinstance(live, int) else len(live)
        given = [0] * count if isinstance(live, int) else live
        hint = self._hint(count)
        code, mix, found, left = coder.bit, Mixer(0.2, 0.2, 0.3, 0.3, 0.4).bit, list[int](), 3
        for value, expected in zip(given, hint):
            near = expected << 3 | left
            bit = mix(code, value, 0, 1 | left << 3, 2 | expected << 3, 3 | (near & ~6) << 3, 4 | near << 3)
            left = (left << 1 | bit) & 7
            found.append(bit)
        if keep:
            self._last[count] = found
        return found

    def _hint(self, count: int) -> list[int]:
        length = max((known for known in self._last if known and count % known == 0), default=0)
        if length <= 1:
            return [2] * count
        return [bit for bit in self._last[length] for _ in range(count // length)]


LONGEST_PERIOD = 128
_LEAST_GAIN = 64.0
"""Minimum number of bits that a period must be estimated to save."""


def period_of(mask: np.ndarray) -> int:
    """The distance ≥ 2 along the rows of [rows, width] that best predicts a non-zero; 0 if none does.

    In a weight that reads a flattened image or feature map, non-zeros correlate with those one image row before.
    """
    best, most = 0, _LEAST_GAIN
    if len(mask) == 0:
        return 0
    for period in range(2, min(LONGEST_PERIOD, mask.shape[1] // 2) + 1):
        gain = _mutual_information(mask[:, period:], mask[:, :-period])
        if gain > most:
            best, most = period, gain
    return best


def _mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """The mutual information of two boolean arrays in bits, summed over their elements."""
    both, total = np.count_nonzero(a & b), a.size
    ones_a, ones_b = np.count_nonzero(a), np.count_nonzero(b)
    cells = np.array([[total - ones_a - ones_b + both, ones_b - both], [ones_a - both, both]], float)
    expected = np.outer([total - ones_a, ones_a], [total - ones_b, ones_b]) / total
    at = cells > 0
    return float((cells[at] * np.log2(cells[at] / expected[at])).sum())


@dataclass(frozen=True)
class MaskField:
    """The part of a weight [height, width] whose mask is coded: `lines` and `places`, because all others are dead.

    `period` comes from `period_of`.
    """

    height: int
    width: int
    lines: list[int]
    places: list[int]
    period: int

    @property
    def transposed(self) -> MaskField:
        """The transposed field, for coding column by column."""
        return MaskField(self.width, self.height, self.places, self.lines, 0)


def code_mask(coder: Coder, where: MaskField, mask: np.ndarray | None) -> np.ndarray:
    """Code a boolean mask [height, width], line by line; None: read it.

    The contexts are the line, the place in it, the mask to the left, and the mask one period before.
    """
    period = where.period
    margin = max(period + 1, 3)
    code, mix = coder.bit, Mixer(-0.3, 0.6, 0.6, 0.15, 0.15 if period else 0.0).bit
    found = np.zeros((where.height, where.width), bool)
    for line in where.lines:
        given = [0] * where.width if mask is None else mask[line].tolist()
        row = [0] * (margin + where.width)
        in_line = 1 | line << 3
        for place in where.places:
            at = margin + place
            left = row[at - 1] | row[at - 2] << 1 | row[at - 3] << 2
            before = row[at - period] << 2 | row[at - period - 1] << 1 | row[at - period + 1] if period else 0
            contexts = in_line, 2 | place << 3, 3 | left << 3, 4 | (before << 1 | left & 1) << 3
            row[at] = mix(code, given[place], 0, *contexts)
        found[line] = row[margin:]
    return found


def code_symbols(
    coder: Coder, rows: np.ndarray, columns: np.ndarray, count: int, period: int, symbols: np.ndarray | None
) -> np.ndarray:
    """Code symbols below `count`, given the row and column of each; None: read them.

    A symbol is coded as its bits, the highest first; symbols are numbered by value, so the first bits are sign and
    magnitude. The contexts are the bits so far, alone and with each of: the row, the column, the previous symbol and
    its distance, and the symbol one period before or next to that.
    """
    bits = max((count - 1).bit_length(), 1)
    code, mix = coder.bit, Mixer(0.3, 0.3, 0.3, 0.2, 0.2 if period else 0.0).bit
    given = [0] * len(rows) if symbols is None else symbols.tolist()
    found: list[int] = []
    line, last_row, last_column, last = dict[int, int](), -1, 0, 0
    for row, column, symbol in zip(rows.tolist(), columns.tolist(), given):
        if row != last_row:
            line, last_row, last_column = {}, row, -_FAR
        near = min(column - last_column, _FAR)
        behind = 3 | (last << 2 | (near == 1) | 2 if near < _FAR else 0) << _SHIFT
        in_row, in_column, before = 1 | row << _SHIFT, 2 | column << _SHIFT, 4 | _before(line, column, period) << _SHIFT
        node = 1
        for place in range(bits - 1, -1, -1):
            here = node << 3
            bit = mix(code, symbol >> place & 1, here, here | in_row, here | in_column, here | behind, here | before)
            node = node << 1 | bit
        line[column] = last = node - (1 << bits)
        last_column = column
        found.append(last)
    return np.array(found, np.int64)


_FAR = 4
"""Distance from which the previous symbol no longer counts as a neighbour."""
_SHIFT = 12
"""Number of context bits below the row or column: the context's position, and the bits of the symbol so far."""


def _before(line: dict[int, int], column: int, period: int) -> int:
    """A code for the symbol one period before, or otherwise next to that."""
    if not period:
        return 0
    straight = line.get(column - period, -1)
    if straight >= 0:
        return straight << 1 | 1
    return line.get(column - period - 1, line.get(column - period + 1, -1)) + 1 << 1


def code_levels(coder: Coder, adaptive: Adaptive, context: str, values: list[int] | int) -> list[int]:
    """Code numbers below 16, each in the context of the one before; when reading, `values` is their number."""
    given = [0] * values if isinstance(values, int) else values
    found = [0]
    for value in given:
        found.append(adaptive.tree(coder, (context, found[-1]), value, _LEVEL_BITS))
    return found[1:]


_LEVEL_BITS = 4
