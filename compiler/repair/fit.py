"""Fitting one layer: choosing the ridge, and keeping the result only if it is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.repair.behind_activation import Rectified
from onnx_compress.compiler.repair.solve.equations import Equations, Free

RIDGES = (1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges to choose from, as shares of the mean diagonal."""
SLOW = 1 << 29
"""Squared inputs times outputs of a layer, above which the search for a ridge stops early."""
EXACT = 1e-5
"""Error, as a share of the aim's spread, below which float32 leaves nothing to repair."""
GAIN = 1e-3
"""Share of the error on the check rows that a refit must remove."""

Found: TypeAlias = tuple[np.ndarray, np.ndarray, float]
"""Weights, shift and the ridge of the solution."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The result for one layer.

    `before` and `after` are errors on all rows, as shares of the aim's spread. `weights` and `shift` are None where
    the layer stays unchanged; `reason` says why, and is empty if there was nothing to repair.
    """

    before: float
    after: float
    ridge: float = 0.0
    weights: np.ndarray | None = None
    shift: np.ndarray | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Task:
    """One layer to solve for: its present `weights` and `shift`, which of them are free, and how they are stored.

    `support` marks the weights that may be non-zero, None for all. `spread` is the spread of the layer's aim. With
    `ridge` None the ridge that does best on the check rows is taken. `rectified` holds the rows where bounds follow
    the layer.
    """

    weights: np.ndarray
    shift: np.ndarray
    free_shift: bool
    support: np.ndarray | None
    dtype: np.dtype
    spread: float
    ridge: float | None = None
    rectified: Rectified | None = None

    def free(self, ridge: float) -> Free:
        """The free unknowns, with this ridge."""
        return Free(ridge, self.free_shift, self.support)


def solve(task: Task, fit: Equations, check: Equations) -> Solution:
    """The weights of least error, or why the present ones stay.

    `fit` and `check` are sums over different rows. The ridge is the one whose solution on `fit` does best on `check`.
    The weights are then solved for on all rows; where bounds follow the layer, they are refined behind the bounds.
    """

    def best() -> Found | str:
        ridge, gain = best_ridge(task, fit, check)
        if gain < GAIN:
            return "the best weights are no better on the check rows"
        weights, shift = (as_stored(array, task.dtype) for array in _best(task, fit, check, ridge))
        return weights, shift, ridge

    return weighed(task, fit + check, best, "weights")


def weighed(task: Task, together: Equations, best: Callable[[], Found | str], what: str) -> Solution:
    """The result of `best` if it beats the present weights, otherwise why they stay; `what` names the unknowns."""
    if not together.is_finite:
        return Solution(0.0, 0.0, reason="its activations are not finite")
    measure = together if task.rectified is None else task.rectified
    present = measure.error(task.weights, task.shift)
    before = sqrt(present / task.spread)
    if before <= EXACT:
        return Solution(before, before)
    found = best()
    if isinstance(found, str):
        return Solution(before, before, reason=found)
    weights, shift, ridge = found
    if not (np.isfinite(weights).all() and np.isfinite(shift).all()):
        return Solution(before, before, reason=f"the best {what} are not finite")
    after = measure.error(weights, shift)
    if after >= present:
        return Solution(before, before, reason=f"the best {what} are no better after rounding")
    return Solution(before, sqrt(after / task.spread), ridge, weights, shift)


def _best(task: Task, fit: Equations, check: Equations, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    free = task.free(ridge)
    if task.rectified is not None:
        start = fit.solve(task.weights, task.shift, free)
        solver = fit.solver(task.weights, task.shift, free).repeated()
        refined = task.rectified.refine(solver, *start)
        if refined is not None:
            return refined
    return (fit + check).solve(task.weights, task.shift, free)


def best_ridge(task: Task, fit: Equations, check: Equations) -> tuple[float, float]:
    """The ridge that does best on `check`, and the share of the error there that it removes.

    Ridges are tried from the largest down; for slow layers, only to the first one that does worse than a larger one.
    """
    measure = check if check.count else fit
    before = measure.error(task.weights, task.shift)
    groups, unknowns, width = task.weights.shape
    is_slow = groups * unknowns**2 * width > SLOW
    found: list[tuple[float, float]] = []
    for ridge in reversed(RIDGES) if task.ridge is None else (task.ridge,):
        try:
            weights, shift = fit.solve(task.weights, task.shift, task.free(ridge))
        except np.linalg.LinAlgError:
            continue
        error = measure.error(weights, shift)
        if is_slow and found and not error <= min(found)[0]:
            break
        if np.isfinite(error):
            found.append((error, ridge))
    if not found or before == 0:
        return 0.0, 0.0
    error, ridge = min(found)
    return ridge, 1 - error / before


def as_stored(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values after rounding to the stored type."""
    with np.errstate(over="ignore"):
        return array.astype(dtype).astype(np.float64)
