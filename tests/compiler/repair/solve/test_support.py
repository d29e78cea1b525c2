"""Columns with supports of their own, by elimination and by conjugate gradients."""

import numpy as np
import pytest

from onnx_compress.compiler.repair.solve import support as solving
from onnx_compress.compiler.repair.solve import threads
from onnx_compress.compiler.repair.solve.equations import Equations
from onnx_compress.compiler.repair.solve.support import OnSupport, by_gradients, patterns


def system(unknowns=12, outputs=4):
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((400, unknowns)) @ rng.standard_normal((unknowns, unknowns))
    return (
        rows.T @ rows + np.eye(unknowns),
        rng.standard_normal((unknowns, outputs)),
        rng.random((unknowns, outputs)) < 0.5,
    )


@pytest.mark.parametrize("is_direct", [True, False])
def test_columns_are_solved_on_their_own_supports(is_direct):
    matrix, right, support = system()
    equations = OnSupport.of(matrix, support)
    got = equations.solve(right) if is_direct else by_gradients(matrix, right, support)
    prepared = equations.repeated()
    assert prepared.inverses
    for m in range(4):
        rows = np.flatnonzero(support[:, m])
        expected = np.linalg.solve(matrix[np.ix_(rows, rows)], right[rows, m])
        np.testing.assert_allclose(got[rows, m], expected, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(prepared.solve(right)[rows, m], expected, rtol=1e-8)
    assert not got[~support].any()


def test_the_diagonal_of_the_inverse_on_each_support():
    matrix, _, support = system()
    found = OnSupport.of(matrix, support).inverse_diagonal()
    for m in range(4):
        rows = np.flatnonzero(support[:, m])
        np.testing.assert_allclose(found[rows, m], np.diag(np.linalg.inv(matrix[np.ix_(rows, rows)])))
    assert (found[~support] == 1).all()


def test_columns_with_one_support_are_one_pattern():
    support = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 1, 0]], bool)
    found = {tuple(part.columns): tuple(part.rows) for part in patterns(support)}
    assert found == {(0, 2): (0,), (1, 3): (1,)}


def test_many_large_supports_are_solved_by_conjugate_gradients():
    support = np.random.default_rng(7).random((2000, 300)) < 0.9
    assert not OnSupport.of(np.eye(2000), support).is_direct
    assert OnSupport.of(np.eye(2000), np.ones((2000, 300), bool)).is_direct


def test_equations_whose_targets_are_the_outputs_of_weights():
    rng = np.random.default_rng(7)
    rows, weights, shift = rng.standard_normal((1, 50, 6)), rng.standard_normal((1, 6, 3)), rng.standard_normal((1, 3))
    targets = rows @ weights + shift[:, None]
    without, expected = Equations.zeros(1, 6, 0), Equations.zeros(1, 6, 3)
    without.add(rows, np.zeros((1, 50, 0)))
    expected.add(rows, targets)
    found = without.answering(weights, shift)
    np.testing.assert_allclose(found.cross, expected.cross)
    np.testing.assert_allclose(found.power, expected.power)
    assert found.spread == pytest.approx(50 * targets.var(axis=1).sum())


def test_columns_by_several_threads_are_those_by_one(monkeypatch):
    matrix, right, support = system(unknowns=40, outputs=200)
    matrix = matrix + np.trace(matrix) * np.eye(40)
    undivided = by_gradients(matrix, right, support)
    found = {}
    for cores in (1, 3):
        monkeypatch.setattr(threads, "_cores", lambda cores=cores: cores)
        monkeypatch.setattr(solving, "PART", 40**2 * 64)
        monkeypatch.setattr(solving, "SMALL_BYTES", 0)
        found[cores] = by_gradients(matrix, right, support), OnSupport.of(matrix, support).solve(right)
    for once, shared in zip(found[1], found[3]):
        np.testing.assert_array_equal(once, shared)
        np.testing.assert_allclose(shared, undivided, rtol=1e-4, atol=1e-4 * np.abs(undivided).max())


def test_fewer_iterations_are_taken_on_request():
    matrix, right, support = system()
    few, many = by_gradients(matrix, right, support, 2), by_gradients(matrix, right, support)
    exact = OnSupport.of(matrix, support).solve(right)
    assert np.abs(many - exact).max() < 1e-3 * np.abs(few - exact).max()
    wide = np.random.default_rng(7).random((2000, 300)) < 0.5
    assert OnSupport.of(np.eye(2000), wide, 300).is_direct
    assert not OnSupport.of(np.eye(2000), wide, 8).is_direct
