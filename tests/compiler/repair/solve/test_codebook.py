"""The codebook refit against brute force over places and dense least squares over values."""

from itertools import product

import numpy as np
import pytest

from onnx_compress.compiler.repair.solve.codebook import Shared
from onnx_compress.compiler.repair.solve.equations import Equations, Free
from onnx_compress.compiler.repair.solve.quadratic import Quadratic
from tests.compiler.repair.solve.codebook_problem import BOOK, centred, problem


def gains_of(shared, goal):
    """The gain at the start, and after each of three sweeps and solutions."""
    gains = [goal.gain(shared.weights)]
    for _ in range(3):
        shared = shared.descended(goal)
        gains.append(goal.gain(shared.weights))
        shared = shared.solved(goal)
        gains.append(goal.gain(shared.weights))
    return gains


def assert_rising(gains):
    assert (np.diff(gains) >= -1e-9 * abs(gains[0])).all()
    assert gains[-1] > gains[0]


def test_values_are_those_of_dense_least_squares():
    """One column per value sums the inputs whose weights take it, over all outputs and rows at once."""
    x, y, dense, goal = problem(ridge=0.0)
    shared = Shared.nearest(dense, BOOK, goal.free).solved(goal)
    places = Shared.nearest(dense, BOOK, goal.free).places
    columns = [centred(x) @ (places == place) for place in (0, 2)]
    design = np.stack([column.reshape(-1) for column in columns], axis=1)
    expected = np.linalg.lstsq(design, centred(y).reshape(-1), rcond=None)[0]
    assert shared.codebook == pytest.approx([expected[0], 0.0, expected[1]], rel=1e-8)
    assert np.array_equal(shared.places, places)


def test_values_follow_the_important_outputs():
    """Weighted least squares: rows of an output are scaled by the square root of its importance."""
    importance = np.array([[1.0, 0.01, 9.0], [2.0, 1.0, 0.5]])
    x, y, dense, goal = problem(ridge=0.0, importance=importance)
    shared = Shared.nearest(dense, BOOK, goal.free).solved(goal)
    roots = np.sqrt(importance)[:, None]
    columns = [roots * (centred(x) @ (shared.places == place)) for place in (0, 2)]
    design = np.stack([column.reshape(-1) for column in columns], axis=1)
    expected = np.linalg.lstsq(design, (roots * centred(y)).reshape(-1), rcond=None)[0]
    assert shared.codebook == pytest.approx([expected[0], 0.0, expected[1]], rel=1e-8)
    assert goal.gain(dense) == pytest.approx(
        np.sum(importance * per_output(x, y, np.zeros_like(dense)) - importance * per_output(x, y, dense))
    )


def per_output(x, y, weights):
    """Squared errors [groups, outputs]."""
    return np.square(centred(y) - centred(x) @ weights).sum(axis=1)


def test_places_come_near_the_best_of_all():
    """Of 3^6 choices per output the alternation finds one that is best or nearly so; rounding is far off."""
    found, rounded, least = 0.0, 0.0, 0.0
    for seed in range(8):
        _, _, dense, goal = problem(seed, groups=1, outputs=1)
        limit = goal.gain(goal.best())
        every = np.array(list(product(range(3), repeat=6)))
        least += limit - max(goal.gain(BOOK[places][None, :, None]) for places in every)
        shared = Shared.compensated(BOOK, goal)
        for _ in range(4):
            shared = shared.descended(goal)
        found += limit - goal.gain(shared.weights)
        rounded += limit - goal.gain(Shared.nearest(dense, BOOK, goal.free).weights)
    assert found <= 1.05 * least
    assert rounded > 2 * found


def test_no_step_makes_it_worse():
    _, _, dense, goal = problem(3, inputs=150, outputs=8)
    shared = Shared.nearest(dense, np.linspace(-2, 2, 9), goal.free)
    assert_rising(gains_of(shared, goal))


def test_zeros_stay_and_zero_stays_a_value():
    _, _, dense, goal = problem(4, inputs=80)
    free = np.random.default_rng(0).random(dense.shape) < 0.3
    goal = Quadratic(goal.matrix, goal.right, free, goal.output_importance)
    shared = goal.improved(Shared.compensated(np.linspace(-2, 2, 9), goal))
    assert 0.0 in shared.codebook
    assert not shared.weights[~free].any()
    assert shared.weights[free].any()
    assert (np.diff(shared.codebook) > 0).all()


def test_an_unused_value_stays():
    _, _, dense, goal = problem(5)
    book = np.array([-1.0, 0.0, 0.8, 50.0])
    shared = Shared.nearest(dense, book, goal.free).solved(goal)
    assert 50.0 in shared.codebook


def test_a_group_without_inputs_keeps_its_weights():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 200, 4)) * np.array([1.0, 0.0])[:, None, None]
    dense = rng.standard_normal((2, 4, 1))
    sums = Equations.zeros(2, 4, 1)
    sums.add(x, x @ dense)
    solver = sums.solver(dense, np.zeros((2, 1)), Free(1e-4))
    goal = Quadratic.of(
        solver,
        sums.cross[:, :-1],
        sums.cross[:, -1],
        np.ones(dense.shape, bool),
        np.ones((dense.shape[0], dense.shape[2])),
    )
    assert goal.best()[1] == pytest.approx(dense[1])
    shared = goal.improved(Shared.compensated(np.linspace(-3, 3, 25), goal))
    assert np.abs(shared.weights - dense).max() < 1e-12
