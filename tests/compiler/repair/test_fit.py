from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnx_compress.compiler.repair import fit
from onnx_compress.compiler.repair.fit import RIDGES, Task, as_stored, best_ridge, solve
from onnx_compress.compiler.repair.solve.equations import Equations

RNG = np.random.default_rng


def sums_of(x: np.ndarray, y: np.ndarray) -> Equations:
    sums = Equations.zeros(1, x.shape[1], y.shape[1])
    sums.add(x[None], y[None])
    return sums


def problem(noise: float = 0.0, rows: int = 400, inputs: int = 6, outputs: int = 3):
    """A task whose weights are wrong, the sums to fit and to check, and the true weights."""
    rng = RNG(0)
    true = rng.standard_normal((inputs, outputs))
    x = rng.standard_normal((rows + 200, inputs))
    y = x @ true + 0.5 + noise * rng.standard_normal((rows + 200, outputs))
    spread = float(np.sum((y - y.mean(0)) ** 2))
    task = Task(np.zeros((1, inputs, outputs)), np.zeros((1, outputs)), True, None, np.dtype(np.float32), spread)
    return task, sums_of(x[:rows], y[:rows]), sums_of(x[rows:], y[rows:]), true


def test_the_weights_of_least_error_are_found():
    task, fitted, check, true = problem()
    found = solve(task, fitted, check)
    assert found.weights is not None
    assert found.shift is not None
    np.testing.assert_allclose(found.weights[0], true, atol=1e-5)
    np.testing.assert_allclose(found.shift[0], 0.5, atol=1e-5)
    assert found.before > 1
    assert found.after < 1e-5
    assert found.reason == ""


def test_zeros_stay_and_weights_are_of_the_stored_type():
    task, fitted, check, true = problem(0.1)
    support = true[None] > 0
    found = solve(replace(task, support=support, dtype=np.dtype(np.float16)), fitted, check)
    assert found.weights is not None
    assert np.array_equal(found.weights != 0, support)
    assert np.array_equal(found.weights, found.weights.astype(np.float16))
    assert found.after < found.before


def test_nothing_to_repair_has_no_reason():
    task, fitted, check, true = problem()
    found = solve(replace(task, weights=true[None], shift=np.full((1, 3), 0.5)), fitted, check)
    assert (found.weights, found.reason) == (None, "")
    assert found.before == found.after < 1e-5


def test_weights_that_are_no_better_on_other_rows_are_refused():
    task, fitted, _, _ = problem(1.0, rows=8)
    other = sums_of(RNG(1).standard_normal((300, 6)), np.zeros((300, 3)))
    found = solve(task, fitted, other)
    assert found.weights is None
    assert "no better on the check rows" in found.reason


def test_activations_that_are_not_finite_are_refused():
    task, fitted, check, _ = problem()
    x = np.full((4, 6), np.inf)
    with np.errstate(invalid="ignore"):
        found = solve(task, fitted + sums_of(x, np.zeros((4, 3))), check)
    assert (found.weights, found.reason) == (None, "its activations are not finite")


def test_few_noisy_rows_take_a_larger_ridge():
    many, few = (best_ridge(*problem(noise, rows)[:3])[0] for noise, rows in ((0.0, 400), (3.0, 9)))
    assert many == RIDGES[0]
    assert few > 1e-2


@pytest.mark.parametrize("slow", [False, True])
def test_the_ridge_is_the_one_that_does_best_on_the_check_rows(slow, monkeypatch):
    if slow:
        monkeypatch.setattr(fit, "SLOW", 0)
    task, fitted, check, _ = problem(2.0, rows=12)
    errors = {}
    for ridge in RIDGES:
        weights, shift = fitted.solve(task.weights, task.shift, task.free(ridge))
        errors[ridge] = check.error(weights, shift)
    ridge, gain = best_ridge(task, fitted, check)
    assert ridge == min(errors, key=errors.__getitem__)
    assert gain == pytest.approx(1 - min(errors.values()) / check.error(task.weights, task.shift))
    assert best_ridge(replace(task, ridge=0.1), fitted, check)[0] == 0.1


def test_values_too_large_for_their_type_become_infinite():
    assert as_stored(np.array([1e6, 0.1]), np.dtype(np.float16)).tolist() == [np.inf, float(np.float16(0.1))]
