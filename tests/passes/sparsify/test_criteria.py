"""The importance of weights against brute force on tiny systems."""

from itertools import product

import numpy as np
import pytest

from onnx_compress.compiler.repair.solve.equations import Free
from onnx_compress.passes.sparsify._criteria import comparable, scores, shares
from tests.passes.sparsify.systems import best_error, equations, rng


def test_obs_is_the_cost_of_removing_a_weight_after_the_others_are_solved_again():
    found, weights, shift = equations()
    support = np.ones(weights.shape, bool)
    solver = found.solver(weights, shift, Free(1e-12, True, support))
    importance = scores("obs", weights, solver)
    for k, m in product(range(5), range(3)):
        without = support.copy()
        without[0, k, m] = False
        assert importance[0, k, m] == pytest.approx(best_error(found, weights, shift, without), rel=1e-6)


def test_obs_on_a_support_is_the_rise_of_the_error():
    found, _, shift = equations()
    support = rng().random((1, 5, 3)) < 0.7
    weights, shift = found.solve(np.zeros((1, 5, 3)), shift, Free(1e-12, True, support))
    before = found.error(weights, shift)
    importance = scores("obs", weights, found.solver(weights, shift, Free(1e-12, True, support)))
    for k, m in np.argwhere(support[0]):
        without = support.copy()
        without[0, k, m] = False
        rise = best_error(found, weights, shift, without) - before
        assert importance[0, k, m] == pytest.approx(rise, rel=1e-5)


def test_activation_is_what_the_loss_of_a_weight_costs_when_only_the_bias_follows():
    found, weights, shift = equations()
    importance = scores("activation", weights, found.solver(weights, shift, Free(0.0)))
    for k, m in product(range(5), range(3)):
        only_bias = np.zeros(weights.shape, bool)
        without = weights.copy()
        without[0, k, m] = 0
        error = found.error(*found.solve(without, shift, Free(1e-12, True, only_bias)))
        assert importance[0, k, m] == pytest.approx(error, rel=1e-6)


def test_lamp_and_std_against_their_definitions():
    weights = rng().standard_normal(20)
    lamp, std = comparable("lamp", weights), comparable("std", weights)
    for i, w in enumerate(weights):
        assert lamp[i] == pytest.approx(w**2 / sum(v**2 for v in weights if abs(v) >= abs(w)))
        assert std[i] == pytest.approx(abs(w) / weights.std())


def test_shares_keep_the_highest_of_all_layers():
    assert shares([np.array([5.0, 1.0, 3.0]), np.array([4.0, 2.0])], 3).tolist() == [2, 1]


def test_lamp_keeps_at_least_one_weight_of_each_layer():
    scored = [comparable("lamp", scale * rng().standard_normal(50)) for scale in (1e-4, 1.0)]
    assert shares(scored, 2).tolist() == [1, 1]
