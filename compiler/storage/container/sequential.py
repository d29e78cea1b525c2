"""Models of small weights that learn while they go: where the non-zeros are, and which symbol each one is.

A weight is seen as [rows, columns · taps]: rows are axis 0, taps what lies behind axis 1 (the kernel of a
convolution). Both models run in both directions, see `adaptive`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.storage.container.adaptive import Adaptive, Coder, Mixer


@dataclass(frozen=True)
class Grid:
    """A weight's shape as three axes."""

    rows: int
    columns: int
    taps: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Grid:
        """Vectors are one row."""
        if len(shape) < 2:
            return cls(1, shape[0] if shape else 1, 1)
        return cls(shape[0], shape[1], int(np.prod(shape[2:], dtype=np.int64)))

    @property
    def size(self) -> int:
        """Elements."""
        return self.rows * self.columns * self.taps

    @property
    def shape(self) -> tuple[int, int, int]:
        """As NumPy wants it."""
        return self.rows, self.columns, self.taps


@dataclass
class Liveness:
    """Which rows and columns of the weights so far hold anything but zeros.

    What feeds a dead column was a dead row before, so an axis is predicted from the last one of the same length, or of
    a length that divides it (a Flatten between them).
    """

    _last: dict[int, list[int]] = field(default_factory=dict)

    def code(self, coder: Coder, live: list[int] | int, *, keep: bool) -> list[int]:
        """Code one bit per index; `live` are the bits or, when they are to be read, their number.

        With `keep` they predict later ones.
        """
        count = live if isinstance(live, int) else len(live)
        given = [0] * count if isinstance(live, int) else live
        hint = self._hint(count)
        mixer, found = Mixer((0.2, 0.4, 0.6)), [1, 1]
        for place in range(count):
            context = hint[place]
            contexts = (0, (1, found[-1], found[-2]), (2, context, found[-1]))
            found.append(mixer.bit(coder, contexts, given[place]))
        if keep:
            self._last[count] = found[2:]
        return found[2:]

    def _hint(self, count: int) -> list[int]:
        length = max((known for known in self._last if known and count % known == 0), default=0)
        if length <= 1:
            return [2] * count
        return [bit for bit in self._last[length] for _ in range(count // length)]


def code_mask(coder: Coder, grid: Grid, mask: np.ndarray | None, *, by_columns: bool) -> np.ndarray:
    """Code a boolean mask [rows, columns · taps], row by row or column by column; None: read it."""
    height, width = grid.rows, grid.columns * grid.taps
    if by_columns:
        height, width = width, height
    table = [[0] * width] * height if mask is None else (mask.T if by_columns else mask).astype(int).tolist()
    found = [_code_line(coder, mixer, line, given) for mixer in (Mixer((-0.3, 0.6, 0.6, 0.15)),) for line, given in enumerate(table)]
    result = np.array(found, bool).reshape(height, width)
    return result.T if by_columns else result


def _code_line(coder: Coder, mixer: Mixer, line: int, given: list[int]) -> list[int]:
    """One row: its contexts are the row, the column, and what stands to the left."""
    bit, found, left = mixer.bit, [], 0
    for place, value in enumerate(given):
        value = bit(coder, (0, 1 | line << 2, 2 | place << 2, 3 | left << 2), value)
        left = (left << 1 | value) & 7
        found.append(value)
    return found


def code_symbols(
    coder: Coder, rows: np.ndarray, columns: np.ndarray, count: int, symbols: np.ndarray | None
) -> np.ndarray:
    """Code symbols below `count`, each with the row and column where it stands; None: read them.

    A symbol is its bits, the highest first; since symbols are numbered by value, those are sign and magnitude.
    """
    bits = max((count - 1).bit_length(), 1)
    mixer = Mixer((0.3, 0.3, 0.3, 0.2))
    given = [0] * len(rows) if symbols is None else symbols.tolist()
    found, last = [], 0
    for row, column, symbol in zip(rows.tolist(), columns.tolist(), given):
        node = 1
        for place in range(bits - 1, -1, -1):
            contexts = (node << 2, (1, node, row), (2, node, column), (3, node, last))
            node = node << 1 | mixer.bit(coder, contexts, symbol >> place & 1)
        last = node - (1 << bits)
        found.append(last)
    return np.array(found, np.int64)


def code_numbers(coder: Coder, adaptive: Adaptive, context: str, values: list[int] | int) -> list[int]:
    """Code small numbers, each in the context of the one before; `values` may be how many to read."""
    given = [0] * values if isinstance(values, int) else values
    found = [0]
    for value in given:
        found.append(adaptive.number(coder, (context, min(found[-1], 15)), value))
    return found[1:]
