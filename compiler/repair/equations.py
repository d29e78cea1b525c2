"""Least squares from sums: the normal equations of a layer, accumulated batch by batch in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass
class Equations:
    """Sums over rows x [K] (with a 1 behind them) and targets y [M], for each group.

    `gram` [groups, K+1, K+1] is Σ xᵀx, `cross` [groups, K+1, M] is Σ xᵀy, `power` [groups, M] is Σ y²; `count`
    rows went into them. With them the squared error of any weights is known, and the best ones are, without
    the rows.
    """

    gram: np.ndarray
    cross: np.ndarray
    power: np.ndarray
    count: int = 0

    @classmethod
    def zeros(cls, groups: int, unknowns: int, outputs: int) -> Self:
        """No rows yet; `unknowns` is K."""
        size = unknowns + 1
        return cls(np.zeros((groups, size, size)), np.zeros((groups, size, outputs)), np.zeros((groups, outputs)))

    def add(self, rows: np.ndarray, targets: np.ndarray) -> None:
        """Take in rows [groups, m, K] and targets [groups, m, M]."""
        x = np.ones((*rows.shape[:2], rows.shape[2] + 1))
        x[:, :, :-1] = rows
        y = targets.astype(np.float64, copy=False)
        turned = x.transpose(0, 2, 1)
        self.gram += turned @ x
        self.cross += turned @ y
        self.power += np.square(y).sum(axis=1)
        self.count += rows.shape[1]

    def __add__(self, other: Equations) -> Equations:
        return Equations(
            self.gram + other.gram, self.cross + other.cross, self.power + other.power, self.count + other.count
        )

    @property
    def is_finite(self) -> bool:
        """Whether no row or target was infinite or undefined."""
        return bool(np.isfinite(self.gram[:, -1]).all() and np.isfinite(self.power).all())

    def error(self, weights: np.ndarray, shift: np.ndarray) -> float:
        """Σ (x·weights + shift − y)² for weights [groups, K, M] and shift [groups, M]."""
        w = np.concatenate([weights, shift[:, None]], axis=1)
        # In this order the two large terms cancel inside one sum, which keeps small errors exact.
        return max(0.0, float(self.power.sum() + np.sum(w * (self.gram @ w - 2 * self.cross))))

    def solve(self, present: np.ndarray, shift: np.ndarray, free: Free) -> tuple[np.ndarray, np.ndarray]:
        """The weights [groups, K, M] and the shift [groups, M] of least error.

        min ‖X W + 1 b − Y‖² + λ ‖W − W₀‖², W₀ the `present` weights, λ = `ridge` times the mean of the diagonal
        of XᵀX (of centred columns where the shift is free). Where the data say nothing, weights stay as they are.
        `free.support` [groups, K, M] says which weights may change; the others stay as in `present`.

        Raises np.linalg.LinAlgError where the equations are singular, as they can be without ridge.
        """
        gram, cross = self.gram[:, :-1, :-1], self.cross[:, :-1]
        sums = self.gram[:, -1, :-1]
        if free.shift:
            gram = gram - sums[:, :, None] * sums[:, None] / self.count
            cross = cross - sums[:, :, None] * self.cross[:, -1:] / self.count
        else:
            cross = cross - sums[:, :, None] * shift[:, None]
        weights = present + _corrections(gram, cross - gram @ present, free)
        if free.shift:
            shift = (self.cross[:, -1] - np.einsum("gk,gkm->gm", sums, weights)) / self.count
        return weights, shift


@dataclass(frozen=True, eq=False)
class Free:
    """Which unknowns may change, and how strongly they are held (see `Equations.solve`)."""

    ridge: float
    shift: bool = True
    support: np.ndarray | None = None


def _corrections(gram: np.ndarray, rest: np.ndarray, free: Free) -> np.ndarray:
    """Solve (gram + λ) D = rest for each group, D zero outside the support."""
    found = np.zeros_like(rest)
    size = gram.shape[1]
    if size == 0:
        return found
    for group, (matrix, right) in enumerate(zip(gram, rest)):
        held = matrix + free.ridge * max(np.trace(matrix) / size, np.finfo(np.float64).tiny) * np.eye(size)
        support = None if free.support is None else free.support[group]
        found[group] = _on_support(held, right, support)
    return found


def _on_support(matrix: np.ndarray, right: np.ndarray, support: np.ndarray | None) -> np.ndarray:
    """Solve for each column on its own support; columns that share one are solved together."""
    if support is None or support.all():
        return np.linalg.solve(matrix, right)
    found = np.zeros_like(right)
    patterns, owners = np.unique(np.packbits(support, axis=0).T, axis=0, return_inverse=True)
    for pattern in range(len(patterns)):
        columns = np.flatnonzero(owners.reshape(-1) == pattern)
        rows = np.flatnonzero(support[:, columns[0]])
        if len(rows):
            found[np.ix_(rows, columns)] = np.linalg.solve(matrix[np.ix_(rows, rows)], right[np.ix_(rows, columns)])
    return found


@dataclass
class Spread:
    """Σ (y − mean y)² over rows [m, C] that come in parts: what errors are measured by."""

    sums: np.ndarray
    power: float = 0.0
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        """Take in rows."""
        wide = values.astype(np.float64)
        self.sums = self.sums + wide.sum(axis=0)
        self.power += float(np.square(wide).sum())
        self.count += len(values)

    @property
    def total(self) -> float:
        """The sum, and 1 where all rows are the same."""
        found = self.power - float(np.square(self.sums).sum()) / max(1, self.count)
        return found if found > 0 else 1.0
