from itertools import product

import numpy as np
import pytest

from onnx_compress.passes.prune._criteria.lasso import lasso, last_bends
from onnx_compress.passes.prune._criteria.obs import System


def problem(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated columns, so that some factors become negative or return on the way."""
    rng = np.random.default_rng(seed)
    columns = rng.standard_normal((50, size)) @ rng.standard_normal((size, size))
    return columns.T @ columns, rng.standard_normal(size) * 30


def minimum(form: np.ndarray, linear: np.ndarray, price: float) -> np.ndarray:
    """The β of least ½ βᵀQβ − cᵀβ + λ‖β‖₁ among the stationary points of all patterns of signs."""
    candidates = []
    for signs in map(np.array, product((-1, 0, 1), repeat=len(linear))):
        on = np.flatnonzero(signs)
        beta = np.zeros(len(linear))
        beta[on] = np.linalg.solve(form[np.ix_(on, on)], (linear - price * signs)[on])
        if (beta * signs >= 0).all():
            candidates.append((beta @ form @ beta / 2 - linear @ beta + price * np.abs(beta).sum(), *beta))
    return np.array(min(candidates)[1:])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_bends_are_where_brute_force_sees_factors_vanish_for_good(size):
    for seed in range(12):
        form, linear = problem(seed, size)
        bends = last_bends(form, linear)
        assert (bends > 0).all()
        for i, bend in enumerate(bends):
            assert minimum(form, linear, 0.999 * bend)[i] != 0
            for above in np.append(np.sort(bends[bends > bend]), [1.0005 * bend]):
                assert minimum(form, linear, 1.0005 * above)[i] == 0


def test_factors_that_come_back_count_at_their_last_end():
    """On the way down some factor leaves and returns: without that the test above would say less."""
    returned = 0
    for seed in range(40):
        form, linear = problem(seed, 5)
        prices = np.geomspace(1e-4, 1, 60) * np.abs(linear).max()
        on = np.array([minimum(form, linear, price) != 0 for price in prices])
        returned += int((np.abs(np.diff(on.astype(int), axis=0)).sum(0) > 1).any())
        if returned:
            break
    assert returned


def layer(seed: int, sets: int, width: int, outputs: int = 3) -> tuple[System, np.ndarray, np.ndarray]:
    """A layer, and columns [rows · outputs, sets]: the contribution of each set of inputs to its output."""
    rng = np.random.default_rng(seed)
    size = sets * width + 2
    x = rng.standard_normal((200, size)) @ rng.standard_normal((size, size))
    x -= x.mean(0)
    weights, rows = rng.standard_normal((size, outputs)), rng.permutation(size)[: sets * width].reshape(sets, width)
    parts = np.stack([(x[:, own] @ weights[own]).ravel() for own in rows], axis=1)
    return System(x.T @ x, weights, rows, 1e-9), parts, x @ weights


@pytest.mark.parametrize("width", [1, 3])
def test_layers_that_read_the_sets_are_summed(width):
    one, two = layer(1, 6, width), layer(2, 6, 1)
    columns = np.concatenate([parts / np.sqrt(np.sum(y**2)) for _, parts, y in (one, two)])
    form = columns.T @ columns
    expected = np.argsort(last_bends(form, form.sum(1)))
    np.testing.assert_array_equal(lasso([one[0], two[0]], 6), expected)
    assert (expected != lasso([one[0]], 6)).any()


def test_useless_channels_are_removed_first_and_one_of_two_equal_ones():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 5))
    x[:, 3] = 2 * x[:, 1]
    weights = np.ones((5, 2))
    weights[4] = 0
    order = lasso([System(x.T @ x, weights, np.arange(5)[:, None], 1e-9)], 5)
    assert order[:2].tolist() == [4, 1] or order[:2].tolist() == [1, 4]
    assert sorted(order) == list(range(5))


def test_wide_layers_are_done_in_time_and_every_set_is_removed_once():
    one = layer(5, 200, 1)[0]
    assert sorted(lasso([one], 200)) == list(range(200))
