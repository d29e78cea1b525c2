from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.repair import fit as fits
from onnx_compress.compiler.repair.fit import RIDGES, Task, best_ridge, solve
from onnx_compress.compiler.repair.solve.equations import Equations, Free, Spread


def drawn(groups=2, rows=60, unknowns=4, outputs=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((groups, rows, unknowns)) + 1
    y = rng.standard_normal((groups, rows, outputs)) + 2
    present = rng.standard_normal((groups, unknowns, outputs))
    return x, y, present, rng.standard_normal((groups, outputs))


def summed(x, y, parts=1):
    equations = Equations.zeros(x.shape[0], x.shape[2], y.shape[2])
    for rows, targets in zip(np.array_split(x, parts, 1), np.array_split(y, parts, 1)):
        equations.add(rows, targets)
    return equations


def test_sums_in_parts_are_the_sums():
    x, y, *_ = drawn()
    whole, parts = summed(x, y), summed(x, y, parts=7)
    for name in ("gram", "cross", "power", "count"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
    halves = summed(x[:, :30], y[:, :30]) + summed(x[:, 30:], y[:, 30:])
    np.testing.assert_allclose(halves.gram, whole.gram, rtol=1e-12)
    assert halves.count == 60


def test_the_error_is_that_of_the_rows():
    x, y, w, b = drawn()
    expected = np.square(x @ w + b[:, None] - y).sum()
    assert summed(x, y).error(w, b) == pytest.approx(expected, rel=1e-10)


def test_the_spread_is_that_of_all_rows():
    _, y, *_ = drawn(groups=1)
    spread = Spread(np.zeros(3))
    for part in np.array_split(y[0], 4):
        spread.add(part)
    assert spread.total == pytest.approx(np.square(y[0] - y[0].mean(0)).sum(), rel=1e-10)
    assert Spread(np.zeros(3)).total == 1.0


@pytest.mark.parametrize("free_shift", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_the_solution_is_that_of_stacked_rows(ridge, free_shift):
    x, y, w, b = drawn()
    got, shift = summed(x, y).solve(w, b, Free(ridge, free_shift))
    for group in range(2):
        rows, targets = x[group], y[group] - (0 if free_shift else b[group])
        if free_shift:
            rows, targets = rows - rows.mean(0), targets - targets.mean(0)
        held = np.sqrt(ridge * np.square(rows).sum() / 4)
        stacked = np.vstack([rows, held * np.eye(4)]), np.vstack([targets, held * w[group]])
        expected = np.linalg.lstsq(*stacked, rcond=None)[0]
        np.testing.assert_allclose(got[group], expected, rtol=1e-9, atol=1e-9)
        rest = (y[group] - x[group] @ expected).mean(0) if free_shift else b[group]
        np.testing.assert_allclose(shift[group], rest, rtol=1e-9, atol=1e-9)


def test_outside_the_support_weights_stay():
    x, y, w, b = drawn(outputs=5)
    support = np.random.default_rng(1).random(w.shape) < 0.6
    support[0, :, 3] = False
    got, _ = summed(x, y).solve(w, b, Free(0.0, True, support))
    np.testing.assert_array_equal(got[~support], w[~support])
    for group, output in np.ndindex(2, 5):
        free = support[group, :, output]
        rows = x[group] - x[group].mean(0)
        target = y[group, :, output] - y[group, :, output].mean() - rows[:, ~free] @ w[group, ~free, output]
        expected = np.linalg.lstsq(rows[:, free], target, rcond=None)[0]
        np.testing.assert_allclose(got[group, free, output], expected, rtol=1e-8, atol=1e-9)


def test_ridge_holds_the_weights_that_rows_do_not_determine():
    x, y, w, b = drawn(rows=3, unknowns=8)
    got, _ = summed(x, y).solve(w, b, Free(1e-6, True))
    rows = x - x.mean(1, keepdims=True)
    for group in range(2):
        *_, directions = np.linalg.svd(rows[group])
        unseen = directions[2:]  # 3 centred rows span 2 directions
        np.testing.assert_allclose(unseen @ got[group], unseen @ w[group], atol=1e-6)


def test_without_unknowns_only_the_shift_is_found():
    x, y, w, b = drawn(unknowns=0)
    _, shift = summed(x, y).solve(w, b, Free(0.1))
    np.testing.assert_allclose(shift, y.mean(1), rtol=1e-12)


def task(w, b, **options):
    return Task(w, b, True, None, np.dtype(np.float32), 100.0, **options)


def test_check_rows_choose_the_ridge():
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((1, 40, 2)), np.zeros((1, 2))
    true = w + 0.3 * rng.standard_normal(w.shape)

    def rows(count):
        x = rng.standard_normal((1, count, 40))
        return summed(x, x @ true + 3 * rng.standard_normal((1, count, 2)))

    few, many = solve(task(w, b), rows(45), rows(2000)), solve(task(w, b), rows(20000), rows(2000))
    assert few.ridge > many.ridge


def test_for_slow_layers_the_search_for_a_ridge_ends_once_it_gets_worse(monkeypatch):
    rng = np.random.default_rng(3)
    w = rng.standard_normal((1, 40, 1))
    x = rng.standard_normal((1, 60, 40))
    y = x @ w + 4 * rng.standard_normal((1, 60, 1))
    present, b = w + 0.3 * rng.standard_normal((1, 40, 1)), np.zeros((1, 1))
    fit, check = summed(x[:, :45], y[:, :45]), summed(x[:, 45:], y[:, 45:])
    tried = []
    solved = Equations.solve
    monkeypatch.setattr(Equations, "solve", lambda *given: tried.append(given[-1].ridge) or solved(*given))
    ridge, gain = best_ridge(task(present, b), fit, check)
    assert sorted(tried) == sorted(RIDGES)
    assert RIDGES[0] < ridge
    tried.clear()
    monkeypatch.setattr(fits, "SLOW", 0)
    assert best_ridge(task(present, b), fit, check) == (ridge, gain)
    assert ridge in tried
    assert len(tried) < len(RIDGES)


def test_weights_that_are_no_better_on_check_rows_are_refused():
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((1, 40, 2)), np.zeros((1, 2))

    def rows(count):
        x = rng.standard_normal((1, count, 40))
        return summed(x, x @ w + rng.standard_normal((1, count, 2)))

    found = solve(task(w, b, ridge=1e-9), rows(45), rows(2000))
    assert found.weights is None
    assert found.after == found.before > 0.1
    assert "no better on the check rows" in found.reason


@pytest.mark.parametrize("slow", [0, 1 << 40])
def test_no_ridge_is_found_where_errors_are_nan(monkeypatch, slow):
    monkeypatch.setattr(fits, "SLOW", slow)
    monkeypatch.setattr(Equations, "error", lambda *_: np.inf)
    w, b = np.ones((1, 4, 1)), np.zeros((1, 1))
    rows = summed(np.random.default_rng(3).standard_normal((1, 20, 4)), np.ones((1, 20, 1)))
    assert best_ridge(task(w, b), rows, rows) == (0.0, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    x, y, w, b = drawn()
    x[0, 0, 0] = bad
    found = solve(task(w, b), summed(x, y), summed(x, y))
    assert found.weights is None
    assert found.reason == "its activations are not finite"


def test_singular_equations_without_ridge_are_refused():
    x, y, w, b = drawn()
    x[:, :, 1] = x[:, :, 0] = 0
    found = solve(task(w, b, ridge=0.0), summed(x, y), summed(x, y))
    assert found.weights is None
    assert found.reason


def test_weights_too_large_for_their_type_are_refused():
    x, y, w, b = drawn()
    found = solve(Task(w, b, True, None, np.dtype(np.float16), 1.0), summed(x, 1e6 * y), summed(x, 1e6 * y))
    assert found.weights is None
    assert found.reason == "the best weights are not finite"
