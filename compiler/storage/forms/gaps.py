"""Few non-zeros: their distances and their values, `Reshape(ScatterElements(zeros, CumSum(distances), values))`.

A distance below a base G takes one symbol; a longer one is split by fillers of G - 1 whose value is 0 (Deep
Compression's relative index). The base is the cheapest of 4 to 65536, so a distance takes 2 to 16 bits. To fill the
last word, the last symbol is repeated with distance 0, which writes the same value to the same position again.
Bytes: (b_gap + b) / 8 · (z + fillers) + s·k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

import numpy as np

from onnx_compress.compiler.storage.forms import nonzeros, symbols
from onnx_compress.compiler.storage.forms.form import Form, write_shaped
from onnx_compress.compiler.storage.forms.symbols import Packing
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues

BASES = (4, 6, 9, 16, 40, 256, 65536, *(int(2 ** (63 / m)) for m in range(5, 16)))
"""Bases G that waste no bits in words of 8, 16 and 64 bits."""
DENSEST = 0.75
"""Share of non-zeros above which gaps never pay."""

LIGHT = 1 << 16
"""Number of elements up to which decoding time does not matter."""
CROWDED = 2 / 3
"""`share` of gaps where more than a third of the weight is non-zero: decoding takes memory for each non-zero."""


@dataclass(frozen=True)
class Gaps:
    """Distances [L] below a base, and `at` [L], the index of the non-zero each belongs to; -1 for fillers."""

    distances: np.ndarray
    at: np.ndarray

    @classmethod
    def of(cls, positions: np.ndarray, base: int) -> Gaps:
        """The gaps of ascending positions; a single filler at position 0 if the list is empty."""
        if not len(positions):
            return cls(np.zeros(1, np.int64), np.full(1, -1))
        reach = base - 1
        raw = np.diff(positions, prepend=0)
        fillers = np.maximum(0, -(-raw // reach) - 1)
        ends = np.cumsum(fillers + 1) - 1
        distances = np.full(int(ends[-1]) + 1, reach, np.int64)
        distances[ends] = raw - fillers * reach
        at = np.full(len(distances), -1, np.int64)
        at[ends] = np.arange(len(positions))
        return cls(distances, at)

    def filled(self, multiple: int) -> Gaps:
        """These gaps with the last symbol repeated until their number is a multiple of `multiple`."""
        more = -len(self.at) % multiple
        at = np.concatenate([self.at, np.full(more, self.at[-1])])
        return Gaps(np.concatenate([self.distances, np.zeros(more, np.int64)]), at)


def best_base(
    weight: WeightValues, opset: int, indexing: Callable[[int], Packing | None]
) -> tuple[int, Packing] | None:
    """The number of symbols and the packing of distances that take the fewest bytes; None if gaps never pay.

    `indexing(count)` is the packing of the indices of `count` values; None if the values are written plain.
    """
    if not weight.size or len(weight.positions) > DENSEST * weight.size or weight.size > np.iinfo(np.int32).max:
        return None
    found = []
    for base in BASES:
        length = _count(weight, base)
        packing, indexed = Packing.best(base, length, opset), indexing(length)
        size = length * weight.itemsize if indexed is None else indexed.nbytes(length)
        found.append((packing.nbytes(length) + size, base, length, packing))
    return min(found, key=lambda one: one[:2])[2:]


def _count(weight: WeightValues, base: int) -> int:
    """Number of symbols in `base`, including fillers; at least one."""
    distances, times = weight.distances
    return max(1, int((np.maximum(1, -(-distances // (base - 1))) * times).sum()))


def write_distances(build: Builder, weight: WeightValues, packing: Packing, multiple: int) -> tuple[Gaps, str]:
    """Add nodes that compute the positions, padded to a multiple of `multiple`; the gaps and the tensor's name."""
    gaps = Gaps.of(weight.positions, packing.base).filled(lcm(packing.per_word, multiple))
    distances = symbols.write(build, gaps.distances, packing, "d")
    return gaps, build.step("CumSum", distances, build.shared("i0", np.array(0, np.int32)), out=".p")


def write_zeros(build: Builder, size: int, dtype: np.dtype) -> str:
    """Add a node that computes zeros [size]."""
    if dtype == np.float32:
        return build.common("ConstantOfShape", build.shape(size), out=f"z{size}")
    return build.common("ConstantOfShape", build.shape(size), out=f"z{size}{dtype.name}", value=dtype)


def _best(weight: WeightValues, opset: int) -> tuple[int, Packing] | None:
    return best_base(weight, opset, lambda count: nonzeros.packing(weight, count, opset))


def _least(weight: WeightValues, opset: int) -> int | None:
    best = _best(weight, opset)
    return None if best is None else best[1].nbytes(best[0]) + nonzeros.least_bytes(weight, best[0], opset)


def _write(build: Builder, weight: WeightValues, out: str) -> None:
    best = _best(weight, build.opset)
    assert best is not None
    length, packing = best
    indexed = nonzeros.packing(weight, length, build.opset)
    gaps, places = write_distances(build, weight, packing, 1 if indexed is None else indexed.per_word)
    updates = nonzeros.write_values(build, weight, gaps.at, indexed)
    zeros = write_zeros(build, weight.size, weight.values.dtype)
    made = build.step("ScatterElements", zeros, places, updates, out=".w")
    write_shaped(build, made, weight.size, weight, out)


def _share(weight: WeightValues) -> float:
    is_light = weight.size <= LIGHT or len(weight.positions) <= weight.size // 3
    return 1.0 if is_light else CROWDED


GAPS = Form("gaps", _least, _write, _share)
