from __future__ import annotations

from itertools import product

import numpy as np

from onnx_compress.compiler.repair.codebook_layer import Start, share
from onnx_compress.compiler.repair.fit import Task
from onnx_compress.compiler.repair.solve.codebook import Shared
from onnx_compress.compiler.repair.solve.equations import Equations
from onnx_compress.compiler.repair.solve.quadratic import Quadratic
from tests.compiler.repair.solve.codebook_problem import BOOK, problem


def test_many_zeros_start_from_what_is_best_with_them():
    """The best weights without the zeros are far from the best with them: rounding them would be a bad start."""
    _, _, dense, goal = problem(6, inputs=60, outputs=8, rows=2000)
    free = np.random.default_rng(0).random(dense.shape) < 0.15
    goal = Quadratic(goal.matrix, goal.right, free, goal.output_importance)
    best = np.zeros(dense.shape)
    for group, column in product(range(2), range(8)):
        rows = np.flatnonzero(free[group, :, column])
        best[group, rows, column] = np.linalg.solve(
            goal.matrix[group][np.ix_(rows, rows)], goal.right[group, rows, column]
        )
    book = np.sort(np.append(np.linspace(-4, 4, 30), 0.0))
    start = Start(best, lambda _weights, _importance: book, goal.output_importance[:, 0])
    lost = [
        goal.gain(best) - goal.gain(shared.weights)
        for shared in (start.begun(goal), Shared.compensated(book, goal), goal.improved(start.begun(goal)))
    ]
    assert lost[0] < 0.01 * lost[1]
    assert lost[2] < lost[0]


def task_of(dense, dtype=np.float32):
    """A layer whose present weights are the dense ones, rounded to the codebook."""
    shared = Shared.nearest(dense, BOOK, np.ones(dense.shape, bool)).weights
    return Task(shared, np.zeros((len(dense), dense.shape[2])), True, None, np.dtype(dtype), 1.0)


def halves(seed=0):
    """Dense weights of a layer, and its sums over two sets of rows."""
    found = []
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((1, 6, 3))
    for rows in (400, 100):
        x = rng.standard_normal((1, rows, 6))
        sums = Equations.zeros(1, 6, 3)
        sums.add(x, x @ dense + 0.3)
        found.append(sums)
    return dense, *found


def test_values_places_and_shift_lower_the_error():
    dense, fit, check = halves()
    task = task_of(dense)
    start = Start(dense, lambda _weights, _importance: BOOK, np.ones((1, 3)))
    found = share(task, start, fit, check)
    assert found.weights is not None
    assert found.shift is not None
    assert found.after < 0.97 * found.before
    assert len(np.unique(found.weights)) <= len(BOOK)
    assert np.array_equal(found.weights, found.weights.astype(np.float32))


def test_the_shift_is_rounded_to_steps_that_cost_little():
    dense, fit, check = halves()
    start = Start(dense, lambda _weights, _importance: BOOK, np.ones((1, 3)))
    found = share(task_of(dense), start, fit, check)
    together = fit + check
    exact = (together.cross[:, -1] - np.einsum("gk,gkm->gm", together.gram[:, -1, :-1], found.weights)) / together.count
    assert together.error(found.weights, found.shift) <= 1.02 * together.error(found.weights, exact)
    scaled = found.shift[0] * 2.0**8
    assert np.array_equal(scaled, np.round(scaled)), "few bits"


def test_zeros_of_the_dense_weights_stay():
    dense, fit, check = halves()
    dense = np.where(np.random.default_rng(1).random(dense.shape) < 0.4, 0, dense)
    start = Start(dense, lambda _weights, _importance: BOOK, np.ones((1, 3)))
    found = share(task_of(dense), start, fit, check)
    assert found.weights is not None
    assert not found.weights[dense == 0].any()
