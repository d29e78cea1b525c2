"""Dropping weights of one layer round by round, and solving for the others after each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.repair.behind_activation import Bounds
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.solve.equations import Equations, Free, Solver
from onnx_compress.compiler.repair.solve.support import ITERATIONS
from onnx_compress.passes.sparsify._criteria import BY_DATA, activity, scores
from onnx_compress.passes.sparsify._patterns import Pattern

RIDGE = 1e-3
"""Share of the mean diagonal that holds the weights while rounds go on; the final refit chooses its own."""
MOST_PRODUCTS, LEAST_ITERATIONS = 1 << 40, 8
"""Multiplications for the conjugate gradients of all layers and rounds, half a minute, and fewest of them in a round.

Each round starts from the solution of the one before, so that few of them bring nearly all.
"""


@dataclass(frozen=True, eq=False)
class Method:
    """What goes: by which criterion, in which pattern, where kernels have so many input channels for each tap.

    `worth` [groups, M] is what the outputs count (None: alike) where they lie between `bounds`.
    """

    criterion: str
    pattern: Pattern
    channels: int
    worth: np.ndarray | None = None
    bounds: Bounds | None = None

    def scores(self, weights: np.ndarray, solver: Solver) -> np.ndarray:
        """The worth [groups, K, M] of the weights, beside those of other outputs too."""
        found = scores(self.criterion, weights, solver)
        if self.worth is None or self.criterion not in BY_DATA:
            return found
        worth = self.worth if self.bounds is None else self.worth * activity(solver, self.bounds)
        return np.asarray(found * worth[:, None])


def schedule(alive: int, count: int, rounds: int) -> list[int]:
    """Numbers of weights left after each of `rounds` rounds, falling geometrically from `alive` to `count`."""
    ratio = max(1, count) / max(1, alive)
    steps = [round(alive * ratio ** (k / rounds)) for k in range(1, rounds)]
    return [*steps, count]


def held(layer: LinearLayer, solutions: int) -> Free:
    """How a layer's weights are held in its rounds, where there are so many `solutions` of all layers together."""
    groups, unknowns, width = layer.weights().shape
    affordable = MOST_PRODUCTS // max(1, solutions * groups * unknowns**2 * width)
    iterations = max(LEAST_ITERATIONS, min(ITERATIONS, affordable))
    return Free(RIDGE, layer.bias is not None, iterations=iterations)


def descend(
    equations: Equations, weights: np.ndarray, shift: np.ndarray, counts: Sequence[int], method: Method, free: Free
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The weights [groups, K, M] and shift [groups, M] with so many weights left, count after count.

    Each time those of lowest score go, and the others are the best on their support:
    min ‖X W + 1 b − Y‖² + λ‖W − W₀‖², `free` saying what else holds. Several rounds do better than one, because what
    is left takes over from what went before the next choice is made.
    """
    alive = weights != 0
    for count in counts:
        solver = equations.solver(weights, shift, replace(free, support=alive))
        alive = method.pattern.kept(method.scores(weights, solver), alive, method.channels, count)
        solver = equations.solver(weights * alive, shift, replace(free, support=alive))
        weights, shift = solver.solve(equations.cross[:, :-1], equations.cross[:, -1])
        yield weights, shift
