"""Contexts for the symbols of a large weight: classes of rows, columns and taps, sent in advance.

A layer's weights differ in scale and density from channel to channel. Each index of an axis gets a class, the
logarithm of its symbols' mean information; a symbol's context is the sum of the classes of its indices. Reader and
writer know all contexts before the first symbol, so the symbols of one context are coded together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.storage.container.coders.notes import Notes
from onnx_compress.compiler.storage.container.coders.small_weights import Grid, code_levels

CLASSES = 9
_MIDDLE = CLASSES // 2
_PER_OCTAVE = 2
FEWEST_PER_INDEX = 16
"""Minimum mean number of symbols per index for classes to pay, and for time to stay bounded."""


@dataclass(frozen=True)
class Contexts:
    """The classes of each axis; None if all indices of the axis share one class."""

    grid: Grid
    classes: tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None] = (None, None, None)

    @property
    def is_plain(self) -> bool:
        """Whether there is only one context."""
        return all(each is None for each in self.classes)

    def of_all(self) -> np.ndarray:
        """The context of every element of the grid, flat."""
        total: np.ndarray = np.full((1, 1, 1), _MIDDLE, np.int16)
        for axis, each in enumerate(self.classes):
            if each is not None:
                total = total + np.expand_dims(each.astype(np.int16) - _MIDDLE, tuple({0, 1, 2} - {axis}))
        return np.ascontiguousarray(
            np.broadcast_to(np.clip(total, 0, CLASSES - 1).astype(np.uint8), self.grid.shape)
        ).reshape(-1)


def candidates(grid: Grid, carried: np.ndarray, mask: np.ndarray | None) -> list[Contexts]:
    """Candidate classes; `carried` is the information of each symbol, at the places where `mask` is True."""
    found = [Contexts(grid)]
    if mask is None:
        cube = carried.reshape(grid.shape)
        means = [cube.mean(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    else:
        means = _sparse_means(grid, carried, mask)
    classes = [_classes(each) if _pays(grid, axis, len(carried)) else None for axis, each in enumerate(means)]
    rows, columns, taps = classes
    for choice in ((rows, None, None), (None, columns, None), (rows, columns, None), (rows, columns, taps)):
        extended = Contexts(grid, choice)
        if not any(_is_equal(extended, other) for other in found):
            found.append(extended)
    return found


def _pays(grid: Grid, axis: int, count: int) -> bool:
    return grid.shape[axis] > 1 and count >= FEWEST_PER_INDEX * grid.shape[axis]


def _is_equal(a: Contexts, b: Contexts) -> bool:
    return all(x is y for x, y in zip(a.classes, b.classes))


def _sparse_means(grid: Grid, carried: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    cube = np.zeros(grid.size)
    cube[mask] = carried
    sums = _sums(cube.reshape(grid.shape), np.float64)
    counts = _sums(mask.reshape(grid.shape), np.int64)
    return [total / np.maximum(count, 1) for total, count in zip(sums, counts)]


def _sums(cube: np.ndarray, dtype: type) -> list[np.ndarray]:
    """The sums over each row, each column and each tap, in two passes over the cube."""
    plane = np.add.reduce(cube, axis=0, dtype=dtype)
    return [np.add.reduce(cube, axis=(1, 2), dtype=dtype), plane.sum(axis=1), plane.sum(axis=0)]


def _classes(means: np.ndarray) -> np.ndarray:
    positive = means[means > 0]
    if positive.size == 0:
        return np.full(len(means), _MIDDLE)
    with np.errstate(divide="ignore"):
        octaves = np.log2(means / positive.mean())
    return np.asarray(np.clip(np.rint(octaves * _PER_OCTAVE), -_MIDDLE, _MIDDLE).astype(np.int64) + _MIDDLE)


def code(notes: Notes, contexts: Contexts, count: int, *, reading: bool) -> Contexts:
    """Code the classes of a stream of `count` symbols; when reading, the classes read replace the given ones."""
    found: list[np.ndarray | None] = []
    for axis, given in enumerate(contexts.classes):
        extent = contexts.grid.shape[axis]
        if not _pays(contexts.grid, axis, count) or not notes.flag(f"classes {axis}", given is not None):
            found.append(None)
            continue
        values: list[int] | int = extent if reading or given is None else given.tolist()
        found.append(np.minimum(code_levels(notes.coder, notes.adaptive, f"class {axis}", values), CLASSES - 1))
    return Contexts(contexts.grid, (found[0], found[1], found[2]))


def cost(contexts: Contexts) -> float:
    """Approximate size of the classes in bits."""
    return sum(2.0 * len(each) for each in contexts.classes if each is not None)
