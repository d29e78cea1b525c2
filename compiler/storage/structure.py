"""Known properties of a weight's values, kept next to the values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.storage.cells import Cells, coded

MOST_DISTINCT, REPEATS = 256, 16
"""A loaded weight with at most 256 distinct values, each used 16 times on average, is taken to have a codebook."""
LEAST_RANK = 2
"""Minimum rank of such a weight: biases and other vectors are never tied."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Promises about the values v of a weight; None means not promised.

    `support`: a bit mask of v's shape in row-major order (`np.packbits`); v is zero where the bit is not set.
    `codebook` [k]: the sorted distinct values, +0.0 for zero; with a `scale`, those of v before scaling.
    `period`: v[i] = v[i - period] along axis 0. `scale`, which broadcasts to v's shape: v = c · scale, computed in
    v's type, with c from the codebook or, without one, integers in [-127, 127]. `cells`: v's vectors are entries
    of one or several codebooks of at most 256 entries each.
    """

    support: np.ndarray | None = None
    codebook: np.ndarray | None = None
    period: int | None = None
    scale: np.ndarray | None = None
    cells: Cells | None = None

    @classmethod
    def supported(cls, values: np.ndarray) -> Structure:
        """The structure of a weight whose zeros must stay zero."""
        return cls(support=np.packbits(values != 0))

    @classmethod
    def tied(cls, values: np.ndarray) -> Structure:
        """The structure of a weight whose equal values, including zeros, must stay equal."""
        return cls(support=np.packbits(values != 0), codebook=np.unique(positive_zero(values)))

    def true_for(self, values: np.ndarray) -> Structure | None:
        """The promises that `values` keep, compared bit by bit; None if they keep none."""
        kept = self
        if self.support is not None and not _is_supported(values, self.support):
            kept = replace(kept, support=None)
        if self.period is not None and not has_period(values, self.period):
            kept = replace(kept, period=None)
        if (self.codebook is not None or self.scale is not None) and unscaled(values, self) is None:
            kept = replace(kept, codebook=None, scale=None)
        if self.cells is not None and coded(values, self.cells) is None:
            kept = replace(kept, cells=None)
        promises = (kept.support, kept.codebook, kept.period, kept.scale, kept.cells)
        return kept if any(promise is not None for promise in promises) else None

    @property
    def is_tied(self) -> bool:
        """Whether equal values, or equal vectors of values, must stay equal."""
        return self.codebook is not None or self.cells is not None

    def renewed(self, values: np.ndarray) -> Structure:
        """The structure of new values that are equal in the same places as the old ones."""
        return Structure.tied(values) if self.cells is None else Structure(cells=self.cells)

    def mask(self, shape: tuple[int, ...]) -> np.ndarray:
        """The support as a boolean array of `shape`; all true if no support is promised."""
        count = int(np.prod(shape, dtype=np.int64))
        if self.support is None:
            return np.ones(shape, bool)
        return np.unpackbits(self.support, count=count).astype(bool).reshape(shape)


def inferred(values: np.ndarray) -> Structure | None:
    """The structure inferred for a loaded weight: a codebook if its values repeat too often to be chance."""
    if values.ndim < LEAST_RANK or values.dtype.kind != "f":
        return None
    some = values.reshape(-1)[: MOST_DISTINCT * REPEATS]
    if len(np.unique(some)) > MOST_DISTINCT:
        return None
    structure = Structure.tied(values)
    assert structure.codebook is not None
    return structure if len(structure.codebook) <= min(MOST_DISTINCT, values.size // REPEATS) else None


def positive_zero(values: np.ndarray) -> np.ndarray:
    """The values with -0.0 replaced by +0.0; all other bits are unchanged."""
    return values + values.dtype.type(0) if values.dtype.kind == "f" else values


def bits_of(values: np.ndarray) -> np.ndarray:
    """The values as unsigned integers of the same width, [values.size], for comparison by bits."""
    return np.ascontiguousarray(values).reshape(-1).view(f"u{values.dtype.itemsize}")


def equal_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one type and shape are bitwise equal, including NaN and the sign of zeros."""
    return bool(np.array_equal(bits_of(a), bits_of(b)))


def has_period(values: np.ndarray, period: int) -> bool:
    """Whether the values repeat bitwise along axis 0 with a `period` that divides its length."""
    if values.ndim == 0 or period <= 0 or len(values) % period or period == len(values):
        return False
    rows = np.ascontiguousarray(values).reshape(len(values), -1)
    return bool(np.array_equal(bits_of(rows[period:]), bits_of(rows[:-period])))


def unscaled(values: np.ndarray, structure: Structure) -> np.ndarray | None:
    """The c of v = c · scale (1 without a scale): codebook entries, or integers without a codebook; None if none."""
    scale = np.ones((), values.dtype) if structure.scale is None else structure.scale
    if values.dtype.kind != "f" or scale.dtype != values.dtype:
        return None
    values = positive_zero(values)
    with np.errstate(all="ignore"):
        raw = values / scale
        found = np.rint(raw) if structure.codebook is None else _nearest(raw, structure.codebook)
        again = positive_zero((found * scale).astype(values.dtype))
    if structure.codebook is None and not np.all(np.abs(found) <= 127):
        return None
    same = again.shape == values.shape and np.array_equal(bits_of(again), bits_of(values))
    return positive_zero(found) if same else None


def _nearest(values: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    right = np.clip(np.searchsorted(codebook, values), 1, max(1, len(codebook) - 1))
    if len(codebook) == 1:
        return np.broadcast_to(codebook, values.shape)
    low, high = codebook[right - 1], codebook[right]
    return np.where(values - low <= high - values, low, high)


def _is_supported(values: np.ndarray, support: np.ndarray) -> bool:
    nonzero = np.packbits(values != 0)
    return nonzero.shape == support.shape and not np.any(nonzero & ~support)
