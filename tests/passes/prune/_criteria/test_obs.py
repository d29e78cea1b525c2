import numpy as np
import pytest

from onnx_compress.passes.prune._criteria.obs import System, elimination


def system(seed: int, sets: int, width: int, outputs: int = 3, ridge: float = 1e-9) -> tuple[System, np.ndarray]:
    rng = np.random.default_rng(seed)
    size = sets * width + 2
    x = rng.standard_normal((400, size)) @ rng.standard_normal((size, size))
    x -= x.mean(0)
    rows = rng.permutation(size)[: sets * width].reshape(sets, width)
    return System(x.T @ x, rng.standard_normal((size, outputs)), rows, ridge), x


def loss(of: System, x: np.ndarray, gone: np.ndarray) -> float:
    """Share of ‖Y‖² lost after a least squares refit on the rows."""
    kept = np.setdiff1d(np.arange(x.shape[1]), of.rows[gone].ravel())
    y = x @ of.weights
    found = np.linalg.lstsq(x[:, kept], y, rcond=None)[0]
    return float(np.sum((x[:, kept] @ found - y) ** 2) / np.sum(y**2))


@pytest.mark.parametrize("width", [1, 3])
def test_the_one_that_costs_least_is_removed_first(width):
    for seed in range(5):
        one, x = system(seed, 6, width)
        order, losses = elimination([one], 6)
        singles = [loss(one, x, np.array([i])) for i in range(6)]
        assert order[0] == int(np.argmin(singles))
        assert losses[0] == pytest.approx(min(singles), rel=1e-4)


def test_losses_add_up_to_what_removing_all_of_them_costs():
    one, x = system(7, 8, 2)
    order, losses = elimination([one], 8)
    for count in (1, 3, 6, 8):
        assert losses[:count].sum() == pytest.approx(loss(one, x, order[:count]), rel=1e-4)


def test_every_step_takes_the_cheapest_of_what_is_left():
    one, x = system(3, 6, 2)
    order, _ = elimination([one], 6)
    for done in range(5):
        left = np.setdiff1d(np.arange(6), order[:done])
        trials = [loss(one, x, np.append(order[:done], i)) for i in left]
        assert order[done] == left[int(np.argmin(trials))]


def test_several_readers_are_summed():
    pairs = [system(seed, 5, width) for seed, width in ((1, 1), (2, 3))]
    order, losses = elimination([one for one, _ in pairs], 5)
    singles = [sum(loss(one, x, np.array([i])) for one, x in pairs) for i in range(5)]
    assert order[0] == int(np.argmin(singles))
    assert losses[0] == pytest.approx(min(singles), rel=1e-4)


def test_a_channel_that_another_one_repeats_costs_nothing():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 4))
    x[:, 3] = 2 * x[:, 1]
    one = System(x.T @ x, np.ones((4, 2)), np.arange(4)[:, None], 1e-9)
    order, losses = elimination([one], 4)
    assert order[0] in (1, 3)
    assert losses[0] < 1e-6
    assert losses[1] > 1e-3


def test_the_refit_without_some_channels_is_least_squares():
    one, x = system(11, 6, 2)
    gone = np.array([1, 4])
    found = one.without(gone)
    assert not found[one.rows[gone]].any()
    error = np.sum((x @ (found - one.weights)) ** 2) / np.sum((x @ one.weights) ** 2)
    assert error == pytest.approx(loss(one, x, gone), rel=1e-4)


def test_wide_layers_are_done_in_steps_and_every_channel_is_removed_once():
    one, x = system(5, 130, 1)
    order, losses = elimination([one], 130)
    assert sorted(order) == list(range(130))
    singles = np.array([loss(one, x, np.array([i])) for i in range(130)])
    assert set(order[:2]) == set(np.argsort(singles)[:2])
    np.testing.assert_allclose(losses[:2], singles[order[:2]], rtol=1e-4)
    both, three = loss(one, x, order[:2]), loss(one, x, order[:3])
    assert losses[2] == pytest.approx(three - both, rel=1e-4)
