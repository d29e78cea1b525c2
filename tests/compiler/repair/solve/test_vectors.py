"""The refit of vectors: of length 1 it equals that of single values, and no step raises the error."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from onnx_compress.compiler.repair.solve.codebook import Shared
from onnx_compress.compiler.repair.solve.quadratic import Quadratic
from onnx_compress.compiler.repair.solve.vectors import VectorCut, Vectors
from onnx_compress.compiler.storage.cells import Cells
from tests.compiler.repair.solve.test_codebook import BOOK, assert_rising, gains_of, problem

RNG = np.random.default_rng(7)


def cut_of(goal: Quadratic, books: int, dim: int) -> VectorCut:
    """A cut whose rows are not in the file's order."""
    return VectorCut(Cells(books, dim), np.random.default_rng(1).permutation(goal.right.shape[1]))


def entries(books: int, count: int, dim: int) -> np.ndarray:
    found = np.random.default_rng(2).standard_normal((books, count, dim))
    found[:, 0] = 0.0
    return found


@pytest.mark.parametrize(("books", "dim"), [(1, 2), (2, 1), (3, 4), (6, 2)])
def test_cutting_and_joining_are_inverse(books, dim):
    _, _, dense, goal = problem(inputs=8)
    cut = cut_of(goal, books, dim)
    assert np.array_equal(cut.matrices(cut.vectors(dense), dense.shape), dense)


def test_runs_cross_the_groups_of_a_layer():
    cut = VectorCut(Cells(books=2), np.arange(4))
    assert cut.runs(4, 3) == [[(0, slice(0, 3))], [(0, slice(0, 3))], [(1, slice(0, 3))], [(1, slice(0, 3))]]
    assert cut.runs(1, 6) == [[(0, slice(0, 3)), (1, slice(3, 6))]]


def test_single_values_are_treated_as_by_the_codebook():
    """The same places and values, in a codebook whose first entry is zero."""
    _, _, _, goal = problem(1)
    cut = VectorCut(Cells(), np.arange(goal.right.shape[1]))
    alone, beside = Shared.nearest(goal.best(), BOOK, goal.free), np.array([1, 0, 2])  # of the values -1, 0, 0.8
    places = cut.vectors(beside[alone.places].astype(float))[..., 0].astype(np.int64)
    one = Vectors(np.array([[0.0], [-1.0], [0.8]])[None], places, cut, goal.right.shape)
    assert np.array_equal(one.weights, alone.weights)
    for _ in range(2):
        alone, one = alone.descended(goal), one.descended(goal)
        assert one.weights == pytest.approx(alone.weights)
        alone, one = alone.solved(goal), one.solved(goal)
        assert one.weights == pytest.approx(alone.weights)


@pytest.mark.parametrize(("books", "dim"), [(1, 2), (2, 1), (3, 4), (2, 2)])
def test_no_step_makes_it_worse(books, dim):
    _, _, _, goal = problem(3, inputs=48, outputs=12)
    shared = Vectors.compensated(entries(books, 16, dim), cut_of(goal, books, dim), goal)
    gains = gains_of(shared, goal)
    assert_rising(gains)
    assert gains[-1] > gains[0] + 0.1 * (goal.gain(goal.best()) - gains[0])


def test_places_come_near_the_best_of_all():
    """Of 4^3 choices per output the sweeps find one that is nearly best, from a worse start."""
    found = least = begun = 0.0
    for seed in range(8):
        _, _, _, goal = problem(seed, groups=1, outputs=1)
        limit, cut, books = goal.gain(goal.best()), cut_of(goal, 1, 2), entries(1, 4, 2)
        every = [books[0][list(places)].reshape(1, 3, 2) for places in product(range(4), repeat=3)]
        least += limit - max(goal.gain(cut.matrices(vectors, goal.right.shape)) for vectors in every)
        shared = Vectors.compensated(books, cut, goal)
        begun += limit - goal.gain(shared.weights)
        for _ in range(4):
            shared = shared.descended(goal)
        found += limit - goal.gain(shared.weights)
    assert found <= 1.6 * least
    assert found < 0.8 * begun


def test_vectors_that_must_be_zero_stay_so_and_zero_stays_an_entry():
    _, _, dense, goal = problem(4, inputs=24, outputs=6)
    cut = cut_of(goal, 2, 4)
    free = cut.matrices(np.repeat(RNG.random((2, 36, 1)) < 0.5, 4, axis=2), dense.shape) != 0
    goal = Quadratic(goal.matrix, goal.right, free, goal.output_importance)
    shared = goal.improved(Vectors.compensated(entries(2, 8, 4), cut, goal))
    assert not shared.books[:, 0].any()
    assert not shared.weights[~free].any()
    assert shared.weights[free].any()


def test_an_unused_entry_stays():
    _, _, _, goal = problem(5)
    books = entries(1, 5, 2)
    books[0, 3] = 1000.0
    shared = Vectors.compensated(books, cut_of(goal, 1, 2), goal).solved(goal)
    assert (shared.books[0, 3] == 1000.0).all()
