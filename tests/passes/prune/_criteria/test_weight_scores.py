import numpy as np
import pytest

from onnx_compress.passes.prune._criteria.weight_scores import CRITERIA, Slices, shared_kernels

RNG = np.random.default_rng(0)
OUT = np.array([[3.0, 4.0], [0.0, 1.0], [-6.0, 8.0]])
IN = np.array([[1.0], [1.0], [4.0]])


def part(role, values):
    energy = (values**2).sum(1)
    reach = np.abs(values).sum(1)
    return Slices(role, values, energy / energy.sum(), reach / reach.sum())


@pytest.mark.parametrize(("name", "norms"), [("l1", [7, 1, 14]), ("l2", [5, 1, 10])])
def test_magnitudes_are_relative_to_each_weight_and_summed(name, norms):
    scores = CRITERIA[name]([part("out", OUT), part("in", IN), part("shift", 100 * IN)], RNG)
    expected = np.array(norms) / np.mean(norms) + IN[:, 0] / 2
    np.testing.assert_allclose(scores, expected)


def test_magnitudes_of_vectors_count_where_there_is_no_product():
    np.testing.assert_allclose(CRITERIA["l1"]([part("shift", IN)], RNG), IN[:, 0] / 2)


def test_energy_is_what_the_readers_lose():
    scores = CRITERIA["energy"]([part("out", OUT), part("in", IN), part("in", OUT)], RNG)
    np.testing.assert_allclose(scores, IN[:, 0] ** 2 / 18 + np.array([25, 1, 100]) / 126)


def test_energy_of_what_no_weight_reads_is_that_of_its_producers():
    np.testing.assert_allclose(CRITERIA["energy"]([part("out", OUT)], RNG), np.array([25, 1, 100]) / 126)


def test_activation_adds_what_reaches_the_readers():
    scores = CRITERIA["activation"]([part("out", OUT), part("in", IN), part("in", OUT)], RNG)
    np.testing.assert_allclose(scores, IN[:, 0] / 6 + np.array([7, 1, 14]) / 22)


def test_fpgm_gives_up_what_lies_between_the_others():
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    scores = CRITERIA["fpgm"]([part("out", points), part("in", 9 * IN)], RNG)
    np.testing.assert_allclose(scores, np.array([7.0, 8.0, 9.0]) / 8)
    assert CRITERIA["fpgm"]([part("in", IN)], RNG) is None


def test_bn_takes_the_scale_and_nothing_else():
    gamma = np.array([[0.5], [-2.0], [0.5]])
    np.testing.assert_allclose(CRITERIA["bn"]([part("scale", gamma), part("out", OUT)], RNG), [0.5, 2, 0.5])
    assert CRITERIA["bn"]([part("out", OUT)], RNG) is None


def penni_by_hand(weight, taps, axis):
    """Σ|α| of each channel along an axis of a weight [out, in, taps], by a singular value decomposition."""
    kernels = weight.reshape(-1, taps)
    basis = np.linalg.svd(kernels, full_matrices=False)[2][:5]
    alpha = (kernels @ basis.T).reshape(*weight.shape[:2], -1)
    alpha = np.where(np.abs(alpha) < alpha.std(), 0, np.abs(alpha))
    return np.moveaxis(alpha, axis, 0).reshape(weight.shape[axis], -1).sum(1)


def test_penni_takes_the_weaker_side_of_a_channel():
    rng = np.random.default_rng(1)
    out, read = rng.standard_normal((6, 4, 9)), rng.standard_normal((5, 6, 25))
    parts = [
        Slices("out", out.reshape(6, -1), np.ones(6), np.ones(6), 9),
        Slices("in", np.moveaxis(read, 1, 0).reshape(6, -1), np.ones(6), np.ones(6), 25),
    ]
    sides = [penni_by_hand(out, 9, 0), penni_by_hand(read, 25, 1)]
    expected = np.min([side / side.mean() for side in sides], axis=0)
    np.testing.assert_allclose(CRITERIA["penni"](parts, RNG), expected)
    assert (CRITERIA["penni"](parts[:1], RNG) > expected).any()
    assert CRITERIA["penni"]([part("scale", IN)], RNG) is None


def test_penni_sums_layers_of_one_side_and_takes_other_weights_as_coefficients():
    weak = np.array([[0.0], [1.0], [8.0]])
    scores = CRITERIA["penni"]([part("out", weak), part("out", weak[::-1])], RNG)
    np.testing.assert_allclose(scores, [1.5, 0, 1.5])  # 8 alone is above the standard deviation, 3.56


def test_what_a_shared_basis_loses_is_least():
    kernels = np.random.default_rng(2).standard_normal((40, 9)) + 1
    exact = np.square(np.linalg.svd(kernels)[1][5:]).sum()
    assert np.square(kernels).sum() - np.square(shared_kernels(kernels)).sum() == pytest.approx(exact)


def test_random_is_seeded():
    one, two = (CRITERIA["random"]([part("out", OUT)], np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert len(set(one)) == 3


def test_dead_channels_come_last():
    dead = OUT * np.array([[1], [0], [1]])
    for name in ("l1", "l2", "energy", "activation"):
        assert CRITERIA[name]([part("out", dead)], RNG).argmin() == 1
