"""The error of a layer as a quadratic function of its weights, minimized over weights that share values.

Let A = XᵀX + λ and B = XᵀY + λ W₀ be the normal equations of a layer (columns centred where the bias is free), W₀ its
weights before they shared values. For any W its error is tr WᵀAW − 2 tr WᵀB plus a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias, TypeVar

import numpy as np

from onnx_compress.compiler.repair.solve.conjugate_gradients import Limit, conjugate_gradients
from onnx_compress.compiler.repair.solve.equations import Solver

ROUNDS = 12
"""Most rounds of descending and solving."""
ENOUGH = 1e-3
"""Share of the error that a round must remove for another one to follow."""
STEPS, TOLERANCE = 24, 1e-10
"""Most steps of conjugate gradients for the values, and the share of the initial residual's norm at which they end."""
DEAD = 1e-6
"""Lower bound of a group's level for its ridge, as a share of the largest group's mean diagonal."""

Spread: TypeAlias = Callable[[np.ndarray], np.ndarray]
Gather: TypeAlias = Callable[[np.ndarray], np.ndarray]


class Assigned(Protocol):
    """Weights [groups, K, M] that take entries of codebooks."""

    @property
    def weights(self) -> np.ndarray:
        """Their values."""

    def descended(self, goal: Quadratic) -> Self:
        """One sweep in which each weight takes the best entry given all others."""

    def solved(self, goal: Quadratic) -> Self:
        """Better entries for the same assignment."""


T = TypeVar("T", bound=Assigned)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """`matrix` A [groups, K, K] and `right` B [groups, K, M]; `free` [groups, K, M] marks weights that may be non-zero.

    `output_importance` [groups, 1, M] weighs the outputs' errors against each other: all outputs share the values.
    """

    matrix: np.ndarray
    right: np.ndarray
    free: np.ndarray
    output_importance: np.ndarray

    @classmethod
    def of(
        cls, solver: Solver, cross: np.ndarray, totals: np.ndarray, free: np.ndarray, importance: np.ndarray
    ) -> Quadratic:
        """The equations of `solver` for Σ xᵀy = `cross`, Σ y = `totals` and the outputs' `importance` [groups, M]."""
        base, ridges = _ridges(solver)
        shift = totals / solver.count if solver.free.shift else solver.shift
        right = cross - solver.sums[:, :, None] * shift[:, None] + ridges * solver.present
        return cls(base, right, free, importance[:, None])

    def best(self) -> np.ndarray:
        """The best weights without a codebook; zeros need not stay."""
        return np.linalg.solve(self.matrix, self.right)

    def gain(self, weights: np.ndarray) -> float:
        """By how much the error is lower than with all weights zero."""
        return float(np.sum(self.output_importance * weights * (2 * self.right - self.matrix @ weights)))

    @property
    def importance(self) -> np.ndarray:
        """The cost of each weight's error [groups, K, M]: the diagonal of A times the output's importance."""
        return np.asarray(self.diagonal * self.output_importance)

    @property
    def diagonal(self) -> np.ndarray:
        """The diagonal of A [groups, K, 1]."""
        return np.diagonal(self.matrix, axis1=1, axis2=2)[:, :, None]

    def least(self, entries: np.ndarray, weights: Spread, onto: Gather) -> np.ndarray:
        """Entries of codebooks with a lower error; entries that no weight takes stay.

        The weights [groups, K, M] are `weights(entries)`, a linear function, and `onto` is its transpose. Conjugate
        gradients start at the present entries, preconditioned by the total importance of each entry's weights: every
        step lowers the error, and as many steps as entries would minimize it.
        """
        masses = onto(np.broadcast_to(self.importance, self.right.shape))
        scale = np.divide(1.0, masses, out=np.zeros_like(masses), where=masses > 0)
        rest = onto(self.output_importance * (self.right - self.matrix @ weights(entries)))
        limit = Limit(min(STEPS, entries.size), TOLERANCE)
        moved = conjugate_gradients(
            lambda move: onto(self.output_importance * (self.matrix @ weights(move))), rest, scale, limit
        )
        return np.asarray(entries + moved)

    def improved(self, shared: T) -> T:
        """`shared` after descending and solving in turns while that helps."""
        gain, limit = self.gain(shared.weights), self.gain(self.best())
        for _ in range(ROUNDS):
            better = shared.descended(self).solved(self)
            reached = self.gain(better.weights)
            if not reached > gain:
                break
            shared, step, gain = better, reached - gain, reached
            if step < ENOUGH * (limit - gain):
                break
        return shared


def _ridges(solver: Solver) -> tuple[np.ndarray, np.ndarray]:
    """The matrices with their ridge, and the ridges [groups, 1, 1]; a group whose inputs are all zero gets one too."""
    size = solver.gram.shape[1]
    levels = np.trace(solver.gram, axis1=1, axis2=2) / max(1, size)
    top = levels.max()
    ridges = (solver.free.ridge * np.maximum(levels, DEAD * top if top > 0 else 1.0))[:, None, None]
    return solver.gram + ridges * np.eye(size), ridges
