"""The error of a layer as a quadratic function of its weights, and lowering it where weights share values.

Let A = XᵀX + λ and B = XᵀY + λ W₀ be the normal equations of a layer (columns centred where the bias is free), W₀ its
weights before they shared values. Its error is tr WᵀAW − 2 tr WᵀB but for a constant, whatever W may be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias, TypeVar

import numpy as np

from onnx_compress.compiler.repair.solve.conjugate_gradients import Limit, conjugate_gradients
from onnx_compress.compiler.repair.solve.equations import Solver

ROUNDS = 12
"""Rounds of descending and solving at most."""
ENOUGH = 1e-3
"""Share of the error that a round must take away for another one to follow."""
STEPS, TOLERANCE = 24, 1e-10
"""Steps of conjugate gradients for the values, and the share of the residual's norm at which they end."""
DEAD = 1e-6
"""Share of the largest group's mean diagonal below which the one of a group is not taken for its level."""

Spread: TypeAlias = Callable[[np.ndarray], np.ndarray]
Gather: TypeAlias = Callable[[np.ndarray], np.ndarray]


class Assigned(Protocol):
    """Weights [groups, K, M] that take entries of codebooks."""

    @property
    def weights(self) -> np.ndarray:
        """Their values."""

    def descended(self, goal: Quadratic) -> Self:
        """One sweep in which each takes the entry that is best given all others."""

    def solved(self, goal: Quadratic) -> Self:
        """Better entries, each taken by the same."""


T = TypeVar("T", bound=Assigned)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """`matrix` A [groups, K, K] and `right` B [groups, K, M]; `free` [groups, K, M] are those that may be non-zero.

    `worth` [groups, 1, M] is what an error of each output counts: all share the values.
    """

    matrix: np.ndarray
    right: np.ndarray
    free: np.ndarray
    worth: np.ndarray

    @classmethod
    def of(
        cls, solver: Solver, cross: np.ndarray, totals: np.ndarray, free: np.ndarray, worth: np.ndarray
    ) -> Quadratic:
        """The equations of `solver` for targets with Σ xᵀy = `cross` and Σ y = `totals`; `worth` is [groups, M]."""
        base, ridges = _ridges(solver)
        shift = totals / solver.count if solver.free.shift else solver.shift
        right = cross - solver.sums[:, :, None] * shift[:, None] + ridges * solver.present
        return cls(base, right, free, worth[:, None])

    def best(self) -> np.ndarray:
        """The weights without a codebook and without the zeros that have to stay."""
        return np.linalg.solve(self.matrix, self.right)

    def gain(self, weights: np.ndarray) -> float:
        """By how much the error is lower than that of weights that are all zero."""
        return float(np.sum(self.worth * weights * (2 * self.right - self.matrix @ weights)))

    @property
    def importance(self) -> np.ndarray:
        """What an error of a weight costs [groups, K, M]: the diagonal of A times the output's worth."""
        return np.asarray(self.diagonal * self.worth)

    @property
    def diagonal(self) -> np.ndarray:
        """That of A [groups, K, 1]."""
        return np.diagonal(self.matrix, axis1=1, axis2=2)[:, :, None]

    def least(self, entries: np.ndarray, weights: Spread, onto: Gather) -> np.ndarray:
        """Entries of codebooks with which the error is less, those to which nothing goes as they are.

        The weights [groups, K, M] are `weights(entries)`, linear in them, and `onto` is its transpose. Conjugate
        gradients from the present entries, preconditioned by the importance of the weights at each: every step
        lowers the error, and after as many as there are entries it would be the least.
        """
        masses = onto(np.broadcast_to(self.importance, self.right.shape))
        scale = np.divide(1.0, masses, out=np.zeros_like(masses), where=masses > 0)
        rest = onto(self.worth * (self.right - self.matrix @ weights(entries)))
        limit = Limit(min(STEPS, entries.size), TOLERANCE)
        moved = conjugate_gradients(lambda move: onto(self.worth * (self.matrix @ weights(move))), rest, scale, limit)
        return np.asarray(entries + moved)

    def improved(self, shared: T) -> T:
        """Descended and solved in turns while that helps."""
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
    """The matrices with their ridge, and the ridges [groups, 1, 1]; a group without any input gets one too."""
    size = solver.gram.shape[1]
    levels = np.trace(solver.gram, axis1=1, axis2=2) / max(1, size)
    top = levels.max()
    ridges = (solver.free.ridge * np.maximum(levels, DEAD * top if top > 0 else 1.0))[:, None, None]
    return solver.gram + ridges * np.eye(size), ridges
