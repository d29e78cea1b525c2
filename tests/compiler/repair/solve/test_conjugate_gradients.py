from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.repair.solve.conjugate_gradients import Limit, conjugate_gradients


def system(seed=0, size=12, columns=3):
    """A positive definite matrix [size, size] of condition 100, a right side, and the inverse of the diagonal."""
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.standard_normal((size, size)))[0]
    matrix = turned * np.geomspace(1, 100, size) @ turned.T
    return matrix, rng.standard_normal((size, columns)), 1 / np.diag(matrix)[:, None]


@pytest.mark.parametrize("is_each_column", [False, True])
def test_as_many_steps_as_unknowns_solve_the_equations(is_each_column):
    matrix, right, scale = system()
    steps = 12 if is_each_column else 36
    found = conjugate_gradients(matrix.__matmul__, right, scale, Limit(steps, 1e-12), is_each_column=is_each_column)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-6, atol=1e-9)


def test_every_step_lowers_the_error():
    matrix, right, scale = system()
    exact = np.linalg.solve(matrix, right)
    errors = []
    for steps in range(12):
        far = exact - conjugate_gradients(matrix.__matmul__, right, scale, Limit(steps, 0.0))
        errors.append(float(np.sum(far * (matrix @ far))))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 * errors[0]


def test_an_entry_without_scale_stays_zero_and_the_others_are_solved_without_it():
    matrix, right, scale = system(columns=1)
    scale[3] = 0
    found = conjugate_gradients(matrix.__matmul__, right, scale, Limit(60, 1e-13))
    free = np.arange(12) != 3
    assert found[3] == 0
    np.testing.assert_allclose(found[free], np.linalg.solve(matrix[np.ix_(free, free)], right[free]), rtol=1e-6)


def test_it_ends_at_the_tolerance():
    matrix, right, scale = system()
    seen = []

    def image(direction):
        seen.append(1)
        return matrix @ direction

    conjugate_gradients(image, right, scale, Limit(1000, 0.1))
    assert 1 <= len(seen) < 12


def test_columns_end_one_by_one():
    """A column that is solved in one step is not moved by the steps of the others."""
    matrix, right, scale = system(columns=2)
    right[:, 0] = 0
    found = conjugate_gradients(matrix.__matmul__, right, scale, Limit(12, 1e-12), is_each_column=True)
    assert not found[:, 0].any()
    np.testing.assert_allclose(found[:, 1], np.linalg.solve(matrix, right[:, 1]), rtol=1e-6)


def test_the_right_side_is_left_as_it_is():
    matrix, right, scale = system()
    before = right.copy()
    conjugate_gradients(matrix.__matmul__, right, scale, Limit(5, 0.0))
    np.testing.assert_array_equal(right, before)
