"""Least squares from sums: the normal equations of a layer, accumulated batch by batch in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from onnx_compress.compiler.repair.solve.support import ITERATIONS, OnSupport


@dataclass
class Equations:
    """Sums over rows x [K] (with a 1 appended) and targets y [M], for each group.

    `gram` [groups, K+1, K+1] is Σ xᵀx, `cross` [groups, K+1, M] is Σ xᵀy, `power` [groups, M] is Σ y², each over
    `count` rows. They suffice to compute the squared error of any weights, and the best weights.
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
        """Add rows [groups, m, K] and targets [groups, m, M]."""
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
        """Whether all rows and targets were finite."""
        return bool(np.isfinite(self.gram[:, -1]).all() and np.isfinite(self.power).all())

    def answering(self, weights: np.ndarray, shift: np.ndarray) -> Equations:
        """Equations over the same rows whose targets are the outputs of these weights [groups, K, M] and shift."""
        w = np.concatenate([weights, shift[:, None]], axis=1)
        cross = self.gram @ w
        return Equations(self.gram, cross, np.sum(w * cross, axis=1), self.count)

    @property
    def spread(self) -> float:
        """Σ (y − mean y)², the unit of errors."""
        return float(self.power.sum() - np.square(self.cross[:, -1]).sum() / max(1, self.count))

    def error(self, weights: np.ndarray, shift: np.ndarray) -> float:
        """Σ (x·weights + shift − y)² for weights [groups, K, M] and shift [groups, M]."""
        w = np.concatenate([weights, shift[:, None]], axis=1)
        # Summed in this order, the two large terms cancel first, which keeps small errors accurate.
        return max(0.0, float(self.power.sum() + np.sum(w * (self.gram @ w - 2 * self.cross))))

    def solve(self, present: np.ndarray, shift: np.ndarray, free: Free) -> tuple[np.ndarray, np.ndarray]:
        """The weights [groups, K, M] and the shift [groups, M] of least error.

        min ‖X W + 1 b − Y‖² + λ ‖W − W₀‖², W₀ the `present` weights, λ = `ridge` times the mean of the diagonal
        of XᵀX (of centred columns where the shift is free). Weights that the data do not determine keep their value.
        `free.support` [groups, K, M] marks the weights that may change; the others stay as in `present`.

        Raises np.linalg.LinAlgError where the equations are singular, which can happen without a ridge.
        """
        return self.solver(present, shift, free).solve(self.cross[:, :-1], self.cross[:, -1])

    def solver(self, present: np.ndarray, shift: np.ndarray, free: Free) -> Solver:
        """A solver for any targets over these rows; see `solve`."""
        gram, sums = self.gram[:, :-1, :-1], self.gram[:, -1, :-1]
        if free.shift:
            gram = gram - sums[:, :, None] * sums[:, None] / self.count
        return Solver(gram, sums, self.count, present, shift, free)


@dataclass(frozen=True, eq=False)
class Free:
    """Which unknowns may change, and how strongly they are held (see `Equations.solve`).

    Where a support makes elimination too expensive, conjugate gradients take at most `iterations` steps.
    """

    ridge: float
    shift: bool = True
    support: np.ndarray | None = None
    iterations: int = ITERATIONS


@dataclass(frozen=True, eq=False)
class Solver:
    """Equations without their right-hand side: `gram` [groups, K, K] and `sums` [groups, K] over `count` rows."""

    gram: np.ndarray
    sums: np.ndarray
    count: int
    present: np.ndarray
    shift: np.ndarray
    free: Free
    inverse: np.ndarray | None = None
    on_support: tuple[OnSupport, ...] = ()

    def repeated(self) -> Solver:
        """The same solver, prepared for many right-hand sides."""
        if self.free.support is None:
            return replace(self, inverse=np.linalg.inv(self.held))
        return replace(self, on_support=tuple(system.repeated() for system in self.systems()))

    def systems(self) -> tuple[OnSupport, ...]:
        """The equations of each group, restricted to the support."""
        assert self.free.support is not None
        if self.on_support:
            return self.on_support
        return tuple(OnSupport.of(*each, self.free.iterations) for each in zip(self.held, self.free.support))

    def solve(self, cross: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights and shift of least error for targets with Σ xᵀy = `cross` [groups, K, M], Σ y = `totals`."""
        if not self.free.shift:
            right = cross - self.sums[:, :, None] * self.shift[:, None]
            return self.present + self._corrections(right - self.gram @ self.present), self.shift
        right = cross - self.sums[:, :, None] * totals[:, None] / self.count
        weights = self.present + self._corrections(right - self.gram @ self.present)
        return weights, (totals - np.einsum("gk,gkm->gm", self.sums, weights)) / self.count

    def _corrections(self, rest: np.ndarray) -> np.ndarray:
        """Solve (gram + λ) D = rest for each group, D zero outside the support."""
        if self.inverse is not None:
            return np.asarray(self.inverse @ rest)
        if self.free.support is None:
            return np.linalg.solve(self.held, rest)
        return np.stack([system.solve(right) for system, right in zip(self.systems(), rest)])

    @property
    def held(self) -> np.ndarray:
        """The matrices with their ridge."""
        size = self.gram.shape[1]
        levels = np.trace(self.gram, axis1=1, axis2=2) / max(1, size)
        levels = self.free.ridge * np.maximum(levels, np.finfo(np.float64).tiny)
        return np.asarray(self.gram + levels[:, None, None] * np.eye(size))


@dataclass
class Spread:
    """Σ (y − mean y)² over rows [m, C] that are added in parts: the unit of errors."""

    sums: np.ndarray
    power: float = 0.0
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        """Add rows."""
        wide = values.astype(np.float64)
        self.sums = self.sums + wide.sum(axis=0)
        self.power += float(np.square(wide).sum())
        self.count += len(values)

    @property
    def total(self) -> float:
        """The sum; 1 where all rows are the same."""
        found = self.power - float(np.square(self.sums).sum()) / max(1, self.count)
        return found if found > 0 else 1.0
