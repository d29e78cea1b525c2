"""Atoms and their sets: a union-find over whole NumPy vectors.

Rules only record which atoms are united, fixed or coupled; everything is settled at the end in a few vectorized
rounds, so a graph with a million channels takes seconds and a few dozen megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNMARKED = -1


class Atoms:
    """The smallest removable units: one per position of an axis.

    An atom is an int64; a vector of atoms describes an axis, and may describe several.
    """

    def __init__(self) -> None:
        self.count = 0
        self._left: list[np.ndarray] = []
        self._right: list[np.ndarray] = []
        self._fixed: list[tuple[np.ndarray, str]] = []
        self._coupled: list[tuple[np.ndarray, str]] = []

    def new(self, size: int) -> np.ndarray:
        """`size` new atoms."""
        self.count += size
        return np.arange(self.count - size, self.count)

    def unite(self, a: np.ndarray, b: np.ndarray) -> None:
        """Record that a[i] and b[i] must be removed together (shapes broadcast)."""
        if a is b:
            return
        a, b = np.broadcast_arrays(a, b)
        self._left.append(a.ravel())
        self._right.append(b.ravel())

    def fix(self, atoms: np.ndarray, why: str) -> None:
        """Record that these can't be removed; of several reasons the first is kept."""
        self._fixed.append((atoms.ravel(), why))

    def couple(self, atoms: np.ndarray, why: str) -> None:
        """Record that these can be removed, but the rest is computed from all: even removing zeros changes it."""
        self._coupled.append((atoms.ravel(), why))

    def settle(self) -> Sets:
        """The sets that follow from everything recorded."""
        roots = connected(self.count, _joined(self._left), _joined(self._right))
        return Sets(roots, *_marks(roots, self._fixed), *_marks(roots, self._coupled))


@dataclass(frozen=True)
class Sets:
    """The sets of atoms, each identified by its smallest member, the root.

    `roots[a]` is the set of atom a. `fixed[r]` and `coupled[r]` index `fixed_why` and `coupled_why`, or
    are UNMARKED; they are valid only at roots.
    """

    roots: np.ndarray
    fixed: np.ndarray
    fixed_why: tuple[str, ...]
    coupled: np.ndarray
    coupled_why: tuple[str, ...]

    def why_fixed(self, root: int) -> str | None:
        """Why the set can't be removed; None if it can."""
        mark = self.fixed[root]
        return None if mark == UNMARKED else self.fixed_why[mark]

    def why_coupled(self, root: int) -> str | None:
        """What is computed across the set and its neighbours; None if the set is independent."""
        mark = self.coupled[root]
        return None if mark == UNMARKED else self.coupled_why[mark]


def connected(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Connected components of the graph with edges left[i]–right[i]: each vertex's smallest vertex in its component.

    Hooking and pointer jumping (Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm", 1982).
    """
    labels = np.arange(count)
    while left.size:
        a, b = labels[left], labels[right]
        open_ = a != b
        left, right, a, b = left[open_], right[open_], a[open_], b[open_]
        low = np.minimum(a, b)
        np.minimum.at(labels, np.maximum(a, b), low)
        labels = _jumped(labels)
    return labels


def _jumped(labels: np.ndarray) -> np.ndarray:
    while True:
        shorter = labels[labels]
        if np.array_equal(shorter, labels):
            return labels
        labels = shorter


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _marks(roots: np.ndarray, noted: list[tuple[np.ndarray, str]]) -> tuple[np.ndarray, tuple[str, ...]]:
    marks = np.full(len(roots), UNMARKED)
    for i in range(len(noted) - 1, -1, -1):
        marks[roots[noted[i][0]]] = i
    return marks, tuple(why for _, why in noted)
