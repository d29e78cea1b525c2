from itertools import pairwise

import numpy as np
import pytest

from onnx_compress.passes.prune._widths.widths import Widths, choose

SIZES = np.array([64, 64, 32, 16])


def widths(fixed=(-1, -1, -1, -1), multiplicity=(1, 1, 1, 1), weights=(1.0, 1.0, 1.0, 1.0)):
    losses = [w * np.linspace(0.1, 1, s) / s for w, s in zip(weights, SIZES)]
    return Widths(SIZES, np.array(multiplicity), np.array(fixed), losses)


def macs(kept):
    """A chain of layers: 3 → kept[0] → kept[1] → kept[2] → kept[3] → 10."""
    lengths = [3, *kept, 10]
    return int(sum(a * b for a, b in pairwise(lengths)))


FULL = macs(SIZES)


@pytest.mark.parametrize("scope", ["global", "uniform"])
@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.3, 0.5, 0.8])
def test_the_target_is_met_in_steps_and_nothing_more_would_fit(scope, ratio):
    target = int((1 - ratio) * FULL)
    kept, step = choose(widths(), macs, target, 16, scope)
    assert macs(kept) <= target
    assert step == 16
    units = widths().units(step)
    assert units.tolist() == [16, 16, 8, 4]
    assert (kept % units == 0).all()
    assert (kept >= units).all()
    for i in range(4):
        wider = kept.copy()
        wider[i] += units[i]
        assert wider[i] > SIZES[i] or macs(wider) > target


def test_a_step_of_one_comes_close():
    for scope in ("global", "uniform"):
        kept, _ = choose(widths(), macs, int(0.7 * FULL), 1, scope)
        assert 0.68 * FULL < macs(kept) <= 0.7 * FULL


def test_global_spares_what_is_dear():
    dear_first = choose(widths(weights=(100.0, 1.0, 1.0, 1.0)), macs, int(0.7 * FULL), 1, "global")[0]
    dear_last = choose(widths(weights=(1.0, 1.0, 1.0, 100.0)), macs, int(0.7 * FULL), 1, "global")[0]
    assert dear_first[0] == 64
    assert dear_first[1] < 64
    assert dear_last[3] == 16
    assert dear_last[0] < 64


def test_the_step_is_halved_where_it_stands_in_the_way():
    kept, step = choose(widths(), macs, int(0.02 * FULL), 16, "uniform")
    assert step < 16
    assert macs(kept) <= int(0.02 * FULL)


def test_the_narrowest_is_given_where_nothing_suffices():
    kept, step = choose(widths(), macs, 1, 16, "global")
    assert (kept == 1).all()
    assert step == 1


def test_what_the_user_fixed_stays():
    kept, _ = choose(widths(fixed=(-1, 40, 32, -1)), macs, int(0.5 * FULL), 4, "global")
    assert kept[1:3].tolist() == [40, 32]
    assert macs(kept) <= 0.5 * FULL


def test_sets_of_many_channels_count_as_many():
    """Two heads of 8 channels make a step of 16; a head of 64 channels is a step by itself."""
    assert widths(multiplicity=(8, 64, 1, 1)).units(16)[:2].tolist() == [2, 1]
