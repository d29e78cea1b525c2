from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.repair.solve.codebook import Shared
from onnx_compress.compiler.repair.solve.equations import Equations, Free
from onnx_compress.compiler.repair.solve.quadratic import Quadratic
from tests.compiler.repair.solve.codebook_problem import centred, problem


def test_the_gain_is_the_error_that_is_removed():
    x, y, dense, goal = problem(ridge=0.0)
    errors = [np.sum(np.square(centred(y) - centred(x) @ weights)) for weights in (np.zeros_like(dense), dense)]
    assert goal.gain(dense) == pytest.approx(errors[0] - errors[1], rel=1e-9)


def test_the_best_weights_are_those_of_least_squares():
    x, y, dense, goal = problem(ridge=0.0)
    for group in range(2):
        expected = np.linalg.lstsq(centred(x)[group], centred(y)[group], rcond=None)[0]
        assert goal.best()[group] == pytest.approx(expected)
    assert goal.gain(goal.best()) >= goal.gain(dense)


def test_the_importance_of_a_weight_is_the_cost_of_its_error():
    importance = np.array([[1.0, 2.0, 3.0], [0.5, 1.0, 4.0]])
    _, _, _, goal = problem(importance=importance)
    best = goal.best()
    moved = best.copy()
    moved[1, 4, 2] += 0.3
    assert goal.gain(best) - goal.gain(moved) == pytest.approx(0.09 * goal.importance[1, 4, 2])


def test_entries_of_a_codebook_are_solved_for():
    _, _, dense, goal = problem(inputs=30)
    places = np.random.default_rng(0).integers(0, 3, dense.shape)

    def weights(entries):
        return entries[places]

    def onto(values):
        return np.bincount(places.ravel(), values.ravel(), 3)

    entries = goal.least(np.zeros(3), weights, onto)
    slope = onto(goal.output_importance * (goal.right - goal.matrix @ weights(entries)))
    assert np.abs(slope).max() < 1e-6 * np.abs(onto(goal.right)).max()


def test_rounds_never_raise_the_error():
    _, _, dense, goal = problem(2, inputs=40)
    start = Shared.nearest(dense, np.linspace(-2, 2, 5), goal.free)
    assert goal.gain(goal.improved(start).weights) > goal.gain(start.weights)


def test_a_group_whose_inputs_are_zero_gets_a_ridge():
    sums = Equations.zeros(2, 3, 1)
    x = np.random.default_rng(0).standard_normal((2, 50, 3)) * np.array([1.0, 0.0])[:, None, None]
    sums.add(x, x.sum(2, keepdims=True))
    dense = np.full((2, 3, 1), 0.25)
    solver = sums.solver(dense, np.zeros((2, 1)), Free(1e-3))
    goal = Quadratic.of(solver, sums.cross[:, :-1], sums.cross[:, -1], dense != 0, np.ones((2, 1)))
    assert np.linalg.matrix_rank(goal.matrix[1]) == 3
    assert goal.best()[1] == pytest.approx(dense[1]), "nothing is known, so the weights stay"
