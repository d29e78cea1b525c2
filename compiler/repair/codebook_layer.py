"""Fitting one layer whose weights have a codebook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from onnx_compress.compiler.repair.behind_activation import ENOUGH, Rectified
from onnx_compress.compiler.repair.fit import Found, Solution, Task, as_stored, best_ridge, weighed
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.solve.codebook import Shared
from onnx_compress.compiler.repair.solve.equations import Equations, Solver
from onnx_compress.compiler.repair.solve.quadratic import Assigned, Quadratic
from onnx_compress.compiler.repair.solve.vectors import VectorCut, Vectors

LEAST_RIDGE = 1e-4
"""Least ridge, as a share of the mean diagonal: below it, rounding errors move to inputs that are rarely active."""
ROUNDED = 1e-2
"""Share of the error by which rounding the shift may raise it."""


@dataclass(frozen=True, eq=False)
class Start:
    """The `dense` weights [groups, K, M], if they are known, and the function that chooses the codebook.

    `centroids` takes weights [n] and the importance [n] of each, and returns the values, ascending, zero among them.
    With a `cut` it takes both as [books, n, dim] and returns [books, k, dim], zero first. `importance` [groups, M] is
    the cost of each output's error where it is seen.
    """

    dense: np.ndarray
    centroids: Callable[[np.ndarray, np.ndarray], np.ndarray]
    importance: np.ndarray
    cut: VectorCut | None = None

    @classmethod
    def present(cls, layer: LinearLayer, importance: np.ndarray) -> Self:
        """The present weights and values of a layer."""
        weights, cut = layer.weights(), VectorCut.of(layer)
        books = np.union1d(weights, [0.0]) if cut is None else _present_books(cut.vectors(weights))
        return cls(weights, lambda _dense, _importance: books, importance, cut)

    def begun(self, goal: Quadratic) -> Assigned:
        """Weights with values from the codebook: the unconstrained optimum or the dense weights, rounded.

        The optimum ignores the zeros that must stay; with many of them, the dense weights are the better start.
        """
        best, importance = goal.best(), np.broadcast_to(goal.importance, goal.right.shape)
        if self.cut is not None:
            books = self.centroids(self.cut.vectors(best), self.cut.vectors(importance))
            return Vectors.compensated(books, self.cut, goal)
        flat = importance.reshape(-1)
        starts = (
            Shared.compensated(self.centroids(best.reshape(-1), flat), goal),
            Shared.nearest(self.dense, self.centroids(self.dense.reshape(-1), flat), goal.free),
        )
        return max(starts, key=lambda start: goal.gain(start.weights))


def _present_books(vectors: np.ndarray) -> np.ndarray:
    """The distinct vectors of [books, n, dim], as [books, k, dim] with zero first."""
    found = [np.unique(each[each.any(axis=1)], axis=0) for each in vectors]
    books = np.zeros((len(vectors), 1 + max(map(len, found)), vectors.shape[2]))
    for book, entries in zip(books, found):
        book[1 : 1 + len(entries)] = entries
    return books


def share(task: Task, start: Start, fit: Equations, check: Equations) -> Solution:
    """The values and places of least error, or why the present weights stay.

    The ridge is the one that does best on `check` without a codebook. `start.centroids` chooses the values, weighted
    by the importance of each weight; `Quadratic.improved` improves values and places; behind bounds both are refined.
    """
    together = fit + check

    def best() -> Found:
        ridge, _ = best_ridge(replace(task, weights=start.dense, support=None), fit, check)
        ridge = max(ridge, LEAST_RIDGE)
        return *_Layer(task, start, together if task.rectified is None else fit, ridge).fitted(), ridge

    return weighed(task, together, best, "values")


@dataclass(frozen=True, eq=False)
class _Layer:
    task: Task
    start: Start
    sums: Equations
    ridge: float

    def fitted(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights and shift, rounded to the stored type."""
        task = self.task
        solver = self.sums.solver(self.start.dense, task.shift, replace(task, support=None).free(self.ridge))
        totals = self.sums.cross[:, -1]
        goal = Quadratic.of(solver, self.sums.cross[:, :-1], totals, self.start.dense != 0, self.importance)
        shared = goal.improved(self.start.begun(goal))
        if task.rectified is None:
            return self.rounded(*self.stored(solver, shared, totals))
        return self.rounded(*self.refined(solver, goal, shared, task.rectified))

    def rounded(self, weights: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shift rounded to steps of a power of two, which adds at most 1 % to the error."""
        measure = self.task.rectified or self.sums
        error = measure.error(weights, shift) / max(1, measure.count * shift.size)
        if not self.task.free_shift or not 0 < error < np.inf:
            return weights, shift
        # The mean squared rounding error is Δ²/12.
        step = 2.0 ** np.floor(np.log2(np.sqrt(12 * ROUNDED * error)))
        return weights, as_stored(np.round(shift / step) * step, self.task.dtype)

    @property
    def importance(self) -> np.ndarray:
        """The importance of the outputs [groups, M]."""
        rectified = self.task.rectified
        return self.start.importance if rectified is None else self.start.importance * rectified.activity()

    def stored(self, solver: Solver, shared: Assigned, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights, rounded to the stored type, and their best shift."""
        weights = as_stored(shared.weights, self.task.dtype)
        shift = self.task.shift
        if solver.free.shift:
            shift = as_stored((totals - np.einsum("gk,gkm->gm", solver.sums, weights)) / solver.count, self.task.dtype)
        return weights, shift

    def refined(
        self, solver: Solver, goal: Quadratic, shared: Assigned, rectified: Rectified
    ) -> tuple[np.ndarray, np.ndarray]:
        """Better weights and shift behind the bounds: each round aims at the t' of the present outputs.

        The check rows decide whether a round is kept.
        """
        weights, shift = self.stored(solver, shared, self.sums.cross[:, -1])
        error = rectified.held_error(weights, shift)
        for _ in range(rectified.rounds(weights)):
            cross, totals = rectified.aimed(weights, shift)
            moved = Quadratic.of(solver, cross, totals, goal.free, self.importance)
            shared = shared.descended(moved).solved(moved)
            found = self.stored(solver, shared, totals)
            reached = rectified.held_error(*found)
            if not reached < error:
                break
            (weights, shift), is_enough, error = found, reached > (1 - ENOUGH) * error, reached
            if is_enough:
                break
        return weights, shift
