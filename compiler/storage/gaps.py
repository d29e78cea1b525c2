"""Few non-zeros: their distances and their values, `Reshape(ScatterElements(zeros, CumSum(distances), values))`.

Distances below a base G go one symbol each; a longer one is cut by fillers of G - 1 whose value is 0 (Deep
Compression's relative index). The base is the cheapest of 4 to 65536, so that a distance takes 2 to 16 bits. The last
symbol is repeated with distance 0 where words are to be filled up: the same value again at the same place.
Bytes: (b_gap + b) / 8 · (z + fillers) + s·k.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

import numpy as np

from onnx_compress.compiler.storage import symbols, values
from onnx_compress.compiler.storage.form import Form, write_shaped
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.symbols import Packing
from onnx_compress.compiler.storage.weight import Weight

BASES = (4, 6, 9, 16, 40, 256, 65536, *(int(2 ** (63 / m)) for m in range(5, 16)))
"""Bases G in which no bits are wasted, for words of 8, 16 and 64 bits."""
DENSEST = 0.75
"""Share of non-zeros beyond which gaps never pay."""


@dataclass(frozen=True)
class Gaps:
    """Distances [L] below the packing's base, and `at` [L], which non-zero each belongs to; fillers have -1."""

    packing: Packing
    distances: np.ndarray
    at: np.ndarray

    @classmethod
    def of(cls, positions: np.ndarray, packing: Packing) -> Gaps:
        """Those of ascending positions, of which there must be one."""
        reach = packing.base - 1
        raw = np.diff(positions, prepend=0)
        fillers = np.maximum(0, -(-raw // reach) - 1)
        ends = np.cumsum(fillers + 1) - 1
        distances = np.full(int(ends[-1]) + 1, reach, np.int64)
        distances[ends] = raw - fillers * reach
        at = np.full(len(distances), -1, np.int64)
        at[ends] = np.arange(len(positions))
        return cls(packing, distances, at)

    def filled(self, multiple: int) -> Gaps:
        """The same with the last symbol repeated until their number is a multiple."""
        more = -len(self.at) % multiple
        at = np.concatenate([self.at, np.full(more, self.at[-1])])
        return Gaps(self.packing, np.concatenate([self.distances, np.zeros(more, np.int64)]), at)


def count(weight: Weight, base: int) -> int:
    """Symbols in `base`, fillers among them; at least one."""
    distances, times = weight.distances
    return max(1, int((np.maximum(1, -(-distances // (base - 1))) * times).sum()))


def write_zeros(build: Builder, size: int, dtype: np.dtype) -> str:
    """Nodes that give zeros [size]."""
    letter = {"float32": ""}.get(dtype.name, dtype.name)
    attrs = {} if dtype == np.float32 else {"value": dtype}
    return build.step("ConstantOfShape", build.shape(size), out=build.free(f"z{size}{letter}"), **attrs)


def _best(weight: Weight, opset: int) -> tuple[int, int] | None:
    """(bytes, base) of the cheapest base."""
    if not weight.size or len(weight.positions) > DENSEST * weight.size or weight.size > np.iinfo(np.int32).max:
        return None
    found = []
    for base in BASES:
        length = count(weight, base)
        bits = Packing.best(base, length, opset).nbytes(length)
        found.append((bits + values.least_bytes(weight, length, opset), base))
    return min(found)


def _least(weight: Weight, opset: int) -> int | None:
    best = _best(weight, opset)
    return None if best is None else best[0]


def _write(build: Builder, weight: Weight, out: str) -> None:
    best = _best(weight, build.opset)
    assert best is not None
    positions = weight.positions if len(weight.positions) else np.zeros(1, np.int64)
    length = count(weight, best[1])
    gaps = Gaps.of(positions, Packing.best(best[1], length, build.opset))
    if not len(weight.positions):
        gaps = Gaps(gaps.packing, gaps.distances, np.full(1, -1))
    indexed = values.packing(weight, length, build.opset)
    gaps = gaps.filled(lcm(gaps.packing.per_word, 1 if indexed is None else indexed.per_word))
    distances = symbols.write(build, gaps.distances, gaps.packing, "d")
    zero = build.shared("i0", np.array(0, np.int32))
    places = build.step("CumSum", distances, zero, out=".p")
    updates = values.write_values(build, weight, gaps.at, indexed)
    zeros = write_zeros(build, weight.size, weight.values.dtype)
    made = build.step("ScatterElements", zeros, places, updates, out=".w")
    write_shaped(build, made, weight.size, weight, out)


GAPS = Form("gaps", _least, _write)
