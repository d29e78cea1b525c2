"""The lines that say what values weights have: the same on every machine, and different for different weights."""

from __future__ import annotations

import numpy as np
import pytest

from tests.golden_values import digest, settled

WEIGHT = np.random.default_rng(7).standard_normal((8, 4, 3, 3)).astype(np.float32)


def line(values):
    return f"# w: {digest(values)}"


def agree(one, two):
    return settled(line(one), line(two)) == line(one)


def without(weight, *channels):
    return np.delete(weight, channels, axis=0)


@pytest.mark.parametrize("noise", [1e-7, 1e-5, 1e-4])
def test_rounding_is_settled(noise):
    moved = WEIGHT * (1 + noise * np.random.default_rng(1).standard_normal(WEIGHT.shape))
    assert agree(WEIGHT, moved)


def test_rounding_of_a_number_at_the_edge_of_its_last_digit_is_settled():
    one, two = np.float32(0.123449), np.float32(0.123451)
    assert digest(one) != digest(two)
    assert agree(one, two)


@pytest.mark.parametrize(
    "other",
    [
        without(WEIGHT, 0),
        without(WEIGHT, 1, 2),
        WEIGHT[::-1],
        WEIGHT.transpose(1, 0, 2, 3),
        -WEIGHT,
        1.01 * WEIGHT,
        np.where(np.arange(WEIGHT.size).reshape(WEIGHT.shape) == 17, 0, WEIGHT),
        WEIGHT + 0.05,
        np.round(WEIGHT * 2) / 2,
    ],
    ids=[
        "a channel less",
        "two less",
        "other order",
        "transposed",
        "signs",
        "scaled",
        "one zero",
        "shifted",
        "rounded",
    ],
)
def test_other_values_have_another_line(other):
    assert not agree(WEIGHT, other)


def test_which_channels_are_left_can_be_told():
    """The same number of channels, but other ones: whatever pair of sets is chosen."""
    lines = [line(without(WEIGHT, i)) for i in range(8)]
    assert all(settled(a, b) == b for a in lines for b in lines if a != b)
    assert len(set(lines)) == 8


def test_zeros_are_counted_exactly():
    sparse = np.where(WEIGHT > 0, WEIGHT, 0)
    assert digest(sparse).startswith(f"{np.count_nonzero(sparse == 0)} of 288 are 0, ")
    assert digest(np.zeros((2, 3), np.int8)) == "6 of 6 are 0, size 0, marks 0.000 0.000"


def test_only_lines_of_the_same_weight_are_settled():
    expected, got = f"graph\n{line(WEIGHT)}\n# v: 0.5", f"graph\n{line(WEIGHT * 1.0001)}\n# u: 0.5"
    assert settled(expected, got) == f"graph\n{line(WEIGHT)}\n# u: 0.5"


def test_a_list_of_names_is_not_a_line_of_values():
    assert settled("# other values: w", "# other values: v") == "# other values: v"
