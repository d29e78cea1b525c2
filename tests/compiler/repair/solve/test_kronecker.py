"""Equations with a Kronecker product as matrix, on a support."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.repair.solve.kronecker import Kronecker


def positive(rng, size):
    factor = rng.standard_normal((2 * size, size))
    return factor.T @ factor / size + 0.5 * np.eye(size)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_the_solution_is_that_of_the_whole_matrix(share):
    rng = np.random.default_rng(0)
    inputs, outputs = positive(rng, 12), positive(rng, 7)
    support = rng.random((12, 7)) < share
    right = rng.standard_normal((12, 7))
    found = Kronecker(inputs, support).solve(right, outputs)
    free = np.flatnonzero(support.ravel())
    whole = np.kron(inputs, outputs)[np.ix_(free, free)]
    wanted = np.zeros(support.size)
    wanted[free] = np.linalg.solve(whole, right.ravel()[free])
    assert found.dtype == np.float32
    assert not found[~support].any()
    np.testing.assert_allclose(found, wanted.reshape(12, 7), atol=0.03 * np.abs(wanted).max())


@pytest.mark.parametrize("support", [np.zeros((3, 2), bool), np.eye(3, 2, dtype=bool)])
def test_nothing_to_solve_gives_nothing(support):
    found = Kronecker(np.eye(3), support).solve(np.where(support, 0.0, 1.0), np.eye(2))
    assert not found.any()


def test_where_no_output_counts_nothing_moves():
    outputs = np.finfo(np.float64).tiny * np.eye(2)
    found = Kronecker(np.eye(3), np.eye(3, 2, dtype=bool)).solve(np.zeros((3, 2)), outputs)
    assert not found.any()
