"""k-means in one dimension against brute force."""

from itertools import combinations

import numpy as np
import pytest

from onnx_compress.passes.cluster._kmeans import INITS, centroids


def cost(weights, importance, book):
    return float(np.sum(importance * np.square(weights[:, None] - book[None]).min(axis=1)))


def brute_force(weights, importance, count):
    """The least cost of any clustering into intervals, one of them fixed at zero."""
    order = np.argsort(weights)
    w, u = weights[order], importance[order]
    # No weight need take the value zero.
    alone = [np.split(np.arange(len(w)), cuts) for cuts in combinations(range(1, len(w)), count - 2)]
    best = min(sum(np.sum(u[p] * (w[p] - np.average(w[p], weights=u[p])) ** 2) for p in parts) for parts in alone)
    for cuts in combinations(range(1, len(w)), count - 1):
        parts = np.split(np.arange(len(w)), cuts)
        free = sum(np.sum(u[p] * (w[p] - np.average(w[p], weights=u[p])) ** 2) for p in parts)
        for held in parts:
            apart = np.sum(u[held] * (w[held] - np.average(w[held], weights=u[held])) ** 2)
            best = min(best, free - apart + np.sum(u[held] * w[held] ** 2))
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [2, 3, 4])
def test_optimal_is_the_best_of_all_clusterings(seed, count):
    rng = np.random.default_rng(seed)
    weights, importance = rng.standard_normal(11) + 0.5 * (seed % 3), rng.uniform(0.1, 2, 11)
    book = centroids(weights, importance, count, "optimal", rng)
    assert len(book) <= count
    assert 0.0 in book
    assert cost(weights, importance, book) == pytest.approx(brute_force(weights, importance, count), rel=1e-9)


@pytest.mark.parametrize(("init", "within"), [("linear", 1.2), ("density", 1.2), ("forgy", 1.6), ("optimal", 1.0)])
def test_no_start_beats_the_optimum_and_lloyd_comes_near(init, within):
    rng = np.random.default_rng(0)
    weights, importance = rng.laplace(size=5000), rng.uniform(0.5, 1.5, 5000)
    least = cost(weights, importance, centroids(weights, importance, 16, "optimal", rng))
    book = centroids(weights, importance, 16, init, rng)
    assert len(book) == 16
    assert 0.0 in book
    assert (np.diff(book) > 0).all()
    assert least * (1 - 1e-9) <= cost(weights, importance, book) <= within * least * (1 + 1e-9)


@pytest.mark.parametrize("init", INITS)
def test_every_centroid_is_the_mean_of_its_weights(init):
    rng = np.random.default_rng(1)
    weights, importance = rng.standard_normal(400), rng.uniform(0.1, 2, 400)
    book = centroids(weights, importance, 8, init, rng)
    owner = np.abs(weights[:, None] - book).argmin(axis=1)
    for place in np.flatnonzero(book):
        mine = owner == place
        assert book[place] == pytest.approx(np.average(weights[mine], weights=importance[mine]), rel=1e-6)


def test_zeros_take_no_centroid():
    """Nine tenths are zero and take one value; the others are clustered as if these did not exist."""
    rng = np.random.default_rng(2)
    some = rng.standard_normal(300)
    weights = np.concatenate([np.zeros(2700), some])
    books = [centroids(w, np.ones(len(w)), 16, "density", rng) for w in (weights, some)]
    assert np.array_equal(*books)


def test_few_values_stay_as_they_are():
    weights = np.array([0.5, -1.0, 0.5, 0.0, 2.0])
    assert centroids(weights, np.ones(5), 4, "linear", np.random.default_rng(0)).tolist() == [-1.0, 0.0, 0.5, 2.0]


@pytest.mark.parametrize("init", INITS)
def test_weights_of_one_sign(init):
    weights = np.random.default_rng(3).uniform(1, 2, 100)
    book = centroids(weights, np.ones(100), 4, init, np.random.default_rng(0))
    assert book[0] == 0.0
    assert (book[1:] >= 1).all()
