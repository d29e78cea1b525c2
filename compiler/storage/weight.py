"""A weight's values as the forms need them; each view is computed once, on first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnx_compress.compiler.storage.cells import coded
from onnx_compress.compiler.storage.structure import MOST_DISTINCT, Structure, bits_of, positive_zero

SAMPLE = 1 << 14
"""Elements sampled first, to reject quickly a weight with too many distinct values for a codebook."""

FAR = 1 << 22
"""Distances below this are counted with a table, which is faster than sorting."""


@dataclass(frozen=True, eq=False)
class WeightValues:
    """Values of any shape and numeric type, and their known structure."""

    values: np.ndarray
    structure: Structure | None = None

    @cached_property
    def flat(self) -> np.ndarray:
        """The values [n] in row-major order, with -0.0 as +0.0."""
        return positive_zero(np.ascontiguousarray(self.values).reshape(-1))

    @property
    def size(self) -> int:
        """Number of elements, n."""
        return int(self.values.size)

    @property
    def itemsize(self) -> int:
        """Bytes per element, s."""
        return int(self.values.dtype.itemsize)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return tuple(self.values.shape)

    @cached_property
    def positions(self) -> np.ndarray:
        """Flat indices of the non-zeros, int64, ascending."""
        return np.flatnonzero(self.flat)

    @cached_property
    def distances(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct distances between consecutive non-zeros (the first counted from the start), and their counts."""
        raw = np.diff(self.positions, prepend=0)
        if raw.max(initial=0) >= FAR:
            found, times = np.unique(raw, return_counts=True)
            return found, times
        counts = np.bincount(raw)
        found = np.flatnonzero(counts)
        return found, counts[found]

    @cached_property
    def _coded(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The distinct values and each element's index into them; None for more than 256."""
        bits = bits_of(self.flat)
        # An odd step over the whole weight, because neighbours may all be equal.
        some = np.unique(bits[:: max(1, bits.size // SAMPLE) | 1])
        if not 0 < len(some) <= MOST_DISTINCT:
            return None
        places = np.searchsorted(some, bits)
        missed = some[np.minimum(places, len(some) - 1)] != bits
        if missed.any():
            some = np.union1d(some, bits[missed])
            if len(some) > MOST_DISTINCT:
                return None
            places = np.searchsorted(some, bits)
        return some.view(self.values.dtype), places.astype(np.uint8)

    @property
    def codebook(self) -> np.ndarray | None:
        """The distinct values, zero first if present, the others ascending by their bits; None for more than 256."""
        return None if self._coded is None else self._coded[0]

    @property
    def symbols(self) -> np.ndarray:
        """Each element's index into the codebook, uint8 [n]."""
        assert self._coded is not None
        return self._coded[1]

    @cached_property
    def in_cells(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Codebooks [books, k, dim] and each vector's index, uint8 [books, n]; None if the structure has no cells."""
        cells = None if self.structure is None else self.structure.cells
        return None if cells is None else coded(self.values, cells)

    @cached_property
    def with_zero(self) -> tuple[np.ndarray, np.ndarray] | None:
        """A codebook that begins with zero, and the symbols of the non-zeros; None for more than 256 values."""
        codebook = self.codebook
        if codebook is None:
            return None
        symbols = self.symbols[self.positions]
        if bits_of(codebook)[0] != 0:
            codebook, symbols = np.concatenate([np.zeros(1, codebook.dtype), codebook]), symbols.astype(np.uint16) + 1
        return (codebook, symbols) if len(codebook) <= MOST_DISTINCT else None
