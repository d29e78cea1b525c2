"""Remove weights of one layer round by round, re-solving the others after each round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.repair.behind_activation import Bounds
from onnx_compress.compiler.repair.effort import RIDGE_TO_CHOOSE, SOLVER_PRODUCTS
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.samples import LEAST_ITERATIONS
from onnx_compress.compiler.repair.solve.equations import Equations, Free, Solver
from onnx_compress.compiler.repair.solve.support import ITERATIONS
from onnx_compress.passes.sparsify._criteria import BY_DATA, activity, scores
from onnx_compress.passes.sparsify._patterns import Pattern


@dataclass(frozen=True, eq=False)
class Method:
    """What is removed: by which criterion, in which pattern, with `channels` inputs per tap of a kernel.

    `importance` [groups, M] is the weight of errors of the outputs (None: equal), where they lie between `bounds`.
    """

    criterion: str
    pattern: Pattern
    channels: int
    importance: np.ndarray | None = None
    bounds: Bounds | None = None

    def scores(self, weights: np.ndarray, solver: Solver) -> np.ndarray:
        """The importance [groups, K, M] of the weights, comparable between outputs."""
        found = scores(self.criterion, weights, solver)
        if self.importance is None or self.criterion not in BY_DATA:
            return found
        importance = self.importance if self.bounds is None else self.importance * activity(solver, self.bounds)
        return np.asarray(found * importance[:, None])


def schedule(alive: int, count: int, rounds: int) -> list[int]:
    """The numbers of weights left after each of `rounds` rounds, falling geometrically from `alive` to `count`."""
    ratio = max(1, count) / max(1, alive)
    steps = [round(alive * ratio ** (k / rounds)) for k in range(1, rounds)]
    return [*steps, count]


def held(layer: LinearLayer, solutions: int) -> Free:
    """How a layer's weights are held during its rounds, for `solutions` solutions of all layers together."""
    groups, unknowns, width = layer.weights().shape
    # Each round starts from the solution of the one before, so a few steps bring nearly all.
    affordable = SOLVER_PRODUCTS // max(1, solutions * groups * unknowns**2 * width)
    iterations = max(LEAST_ITERATIONS, min(ITERATIONS, affordable))
    return Free(RIDGE_TO_CHOOSE, layer.bias is not None, iterations=iterations)


def descend(
    equations: Equations, weights: np.ndarray, shift: np.ndarray, counts: Sequence[int], method: Method, free: Free
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The weights [groups, K, M] and shift [groups, M] with each number of `counts` weights left, in order.

    Each round removes the weights of lowest score and solves for the best others on their support: min ‖X W + 1 b −
    Y‖² + λ‖W − W₀‖², with the constraints of `free`. Several rounds do better than one, because the remaining
    weights take over from removed ones before the next choice is made.
    """
    alive = weights != 0
    for count in counts:
        solver = equations.solver(weights, shift, replace(free, support=alive))
        alive = method.pattern.kept(method.scores(weights, solver), alive, method.channels, count)
        solver = equations.solver(weights * alive, shift, replace(free, support=alive))
        weights, shift = solver.solve(equations.cross[:, :-1], equations.cross[:, -1])
        yield weights, shift
