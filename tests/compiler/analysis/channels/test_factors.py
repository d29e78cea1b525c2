import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels.factors import factorize


@pytest.mark.parametrize(
    ("before", "after", "sizes"),
    [
        ((6,), (2, 3), [2, 3]),
        ((4, 6), (24,), [4, 6]),
        ((2, 64, 8, 8), (2, 32, 128), [2, 32, 2, 8, 8]),
        ((4, 6), (8, 3), [4, 2, 3]),
        ((1, 5, 1), (5,), [5]),
        (("N", 12), ("N", 3, 4), ["N", 3, 4]),
        (("N", "T", 12), ("N", "T", 3, 4), ["N", "T", 3, 4]),
    ],
)
def test_factors_multiply_to_both_shapes(before, after, sizes):
    factors = factorize(before, after)
    assert sorted(map(str, factors.sizes)) == sorted(map(str, sizes))
    for shape, made_of in ((before, factors.before), (after, factors.after)):
        for size, parts in zip(shape, made_of):
            lengths = [factors.sizes[f] for f in parts]
            assert lengths == [size] or (size == 1 and lengths == []) or int(np.prod(lengths)) == size


def test_factors_run_from_the_outermost_inwards():
    factors = factorize((2, 64, 8, 8), (2, 32, 128))
    assert [[factors.sizes[f] for f in part] for part in factors.before] == [[2], [32, 2], [8], [8]]
    assert [[factors.sizes[f] for f in part] for part in factors.after] == [[2], [32], [2, 8, 8]]


def test_an_unknown_length_takes_the_whole_remainder():
    factors = factorize(("N", 64, "H", "W"), ("N", 32, "rest"))
    assert [[factors.sizes[f] for f in part] for part in factors.after] == [["N"], [32], [2, "H", "W"]]
    assert factors.lost == []


def test_an_unmatched_factor_is_lost_but_its_neighbours_are_not():
    factors = factorize(("T", "N", 32), (12, "U", 8))
    assert [[factors.sizes[f] for f in part] for part in factors.before] == [["T"], ["N"], [4, 8]]
    shared = set(factors.before[2]) & set(factors.after[2])
    assert [factors.sizes[f] for f in shared] == [8]
    assert factors.before[2][0] in factors.lost


@pytest.mark.parametrize(("before", "after"), [((6,), (4, 2)), ((2, 3), (5,)), ((0, 3), (3, 0))])
def test_shapes_without_common_factors(before, after):
    assert factorize(before, after) is None
