"""The numerics of sparsify-weights against brute force on tiny systems."""

from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.repair.effort import RIDGE_TO_CHOOSE, SOLVER_PRODUCTS
from onnx_compress.compiler.repair.solve.equations import Equations, Free
from onnx_compress.compiler.repair.solve.support import ITERATIONS
from onnx_compress.passes.sparsify._criteria import comparable, scores, shares
from onnx_compress.passes.sparsify._patterns import Pattern
from onnx_compress.passes.sparsify._rounds import (
    LEAST_ITERATIONS,
    Method,
    descend,
    held,
    schedule,
)


def rng():
    return np.random.default_rng(7)


def equations(unknowns=5, outputs=3, rows=400):
    """Correlated inputs, and their outputs for some weights."""
    mixed = rng().standard_normal((rows, unknowns)) @ rng().standard_normal((unknowns, unknowns))
    weights = np.random.default_rng(8).standard_normal((1, unknowns, outputs))
    found = Equations.zeros(1, unknowns, outputs)
    found.add(mixed[None], mixed[None] @ weights)
    return found, weights, np.zeros((1, outputs))


def best_error(found, weights, shift, support):
    """The least error with the other weights zero and b free."""
    solved = found.solve(weights * support, shift, Free(1e-12, True, support))
    return found.error(*solved)


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


def test_a_schedule_falls_geometrically_and_ends_at_its_goal():
    assert schedule(1000, 1, 3) == [100, 10, 1]
    assert schedule(7, 5, 1) == [5]


def kept(pattern, shape, channels, count):
    importance = rng().random(shape)
    return Pattern.parse(pattern).kept(importance, np.ones(shape, bool), channels, count), importance


@pytest.mark.parametrize(("pattern", "keep", "of"), [("2of4", 2, 4), ("1of4", 1, 4), ("5of8", 5, 8)])
def test_of_each_run_of_inputs_the_best_stay(pattern, keep, of):
    mask, importance = kept(pattern, (2, 3 * 8, 5), 8, 0)
    for g, m in product(range(2), range(5)):
        for start in range(0, 24, of):
            run = slice(start, start + of)
            best = np.argsort(-importance[g, run, m])[:keep]
            assert np.flatnonzero(mask[g, run, m]).tolist() == sorted(best.tolist())


def test_rounds_of_runs_are_removed_one_by_one():
    importance = rng().random((1, 8, 2))
    mask = Pattern.parse("2of4").kept(importance, np.ones(importance.shape, bool), 8, 12)
    assert (mask.reshape(1, 2, 4, 2).sum(2) == 3).all()


@pytest.mark.parametrize(("pattern", "outputs", "inputs"), [("2x4", 2, 4), ("8x1", 8, 1), ("3x5", 3, 5)])
def test_blocks_stay_or_go_as_a_whole_and_do_not_cross_taps(pattern, outputs, inputs):
    mask, importance = kept(pattern, (1, 2 * 6, 8), 6, 40)
    sums = {}
    for tap, row, column in product(range(2), range(0, 6, inputs), range(0, 8, outputs)):
        place = (0, slice(6 * tap + row, 6 * tap + min(6, row + inputs)), slice(column, column + outputs))
        assert mask[place].all() or not mask[place].any()
        sums[importance[place].mean()] = bool(mask[place].any())
    ranked = [sums[value] for value in sorted(sums, reverse=True)]
    assert ranked == sorted(ranked, reverse=True), "the blocks of the highest mean importance stay"
    assert 40 - outputs * inputs < mask.sum() <= 40


def test_shapes_are_taps_of_inputs_for_all_outputs():
    mask, importance = kept("shape", (1, 12, 7), 4, 35)
    assert mask.sum() == 35
    assert set(np.flatnonzero(mask[0, :, 0])) == set(np.argsort(-importance[0].sum(1))[:5])
    assert (mask[0] == mask[0][:, :1]).all()


@pytest.mark.parametrize("text", ["", "4of2", "0of4", "0x4", "x4", "2:4", "99999x1", "2of4x", "rows"])
def test_other_patterns_are_refused(text):
    with pytest.raises(UsageError, match="unknown pattern"):
        Pattern.parse(text)
