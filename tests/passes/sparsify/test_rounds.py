from itertools import combinations
from types import SimpleNamespace

import numpy as np

from onnx_compress.compiler.repair.effort import RIDGE_TO_CHOOSE, SOLVER_PRODUCTS
from onnx_compress.compiler.repair.solve.equations import Free
from onnx_compress.compiler.repair.solve.support import ITERATIONS
from onnx_compress.passes.sparsify._patterns import Pattern
from onnx_compress.passes.sparsify._rounds import LEAST_ITERATIONS, Method, descend, held, schedule
from tests.passes.sparsify.systems import best_error, equations


def test_rounds_do_better_than_one():
    found, weights, shift = equations(unknowns=24, outputs=6, rows=2000)
    errors = {}
    for rounds in (1, 8):
        steps = schedule(weights.size, weights.size // 6, rounds)
        *_, state = descend(found, weights, shift, steps, Method("activation", Pattern(), 24), Free(RIDGE_TO_CHOOSE))
        assert np.count_nonzero(state[0]) == weights.size // 6
        errors[rounds] = found.error(*state)
    assert errors[8] < 0.7 * errors[1]


def test_layers_whose_rounds_would_take_long_take_fewer_iterations():
    def layer(*shape):
        return SimpleNamespace(weights=lambda: np.broadcast_to(1.0, shape), bias=None)

    assert held(layer(1, 500, 300), 40).iterations == ITERATIONS
    assert held(layer(1, 2000, 500), 40).iterations == SOLVER_PRODUCTS // (40 * 2000**2 * 500)
    assert held(layer(2, 9000, 900), 400).iterations == LEAST_ITERATIONS
    assert not held(layer(1, 1, 1), 40).shift


def test_a_schedule_falls_geometrically_and_ends_at_its_goal():
    assert schedule(1000, 1, 3) == [100, 10, 1]
    assert schedule(7, 5, 1) == [5]


def test_one_weight_at_a_time_by_obs_finds_nearly_the_best_support():
    found, weights, shift = equations(outputs=1)
    for left in (4, 3, 2):
        steps = list(range(4, left - 1, -1))
        *_, (sparse, moved) = descend(found, weights, shift, steps, Method("obs", Pattern(), 5), Free(RIDGE_TO_CHOOSE))
        assert np.count_nonzero(sparse) == left
        every = []
        for kept in combinations(range(5), left):
            support = np.zeros(weights.shape, bool)
            support[0, list(kept)] = True
            every.append(best_error(found, weights, shift, support))
        worse = sorted(every)
        assert found.error(sparse, moved) <= worse[1] * 1.01, "among the best two of all supports"
