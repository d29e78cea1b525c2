from itertools import product

import numpy as np
import pytest

from onnx_compress.compiler.budget.curves import Curve, along_hulls


def test_allocation_is_the_best_of_all():
    losses = [np.array([0.0, 1.0, 4.0, 9.0]), np.array([0.0, 0.2, 2.0, 12.0]), np.array([0.0, 3.0, 7.0, 14.0])]
    counts = [np.array([30, 20, 10, 0]), np.array([60, 40, 20, 0]), np.array([15, 10, 5, 0])]
    curves = [Curve(c, e, False) for c, e in zip(counts, losses)]
    for total in (105, 75, 50, 25):
        got = along_hulls(curves, total)
        assert sum(got) <= total
        lost = sum(float(e[list(c).index(n)]) for c, e, n in zip(counts, losses, got))
        every = [
            sum(float(e[i]) for e, i in zip(losses, choice))
            for choice in product(range(4), repeat=3)
            if sum(int(c[i]) for c, i in zip(counts, choice)) <= sum(got)
        ]
        assert lost == pytest.approx(min(every))


def test_the_last_step_is_taken_in_part():
    curve = Curve(np.array([100, 50, 10]), np.array([0.0, 1.0, 10.0]))
    assert along_hulls([curve], 30) == [30]
    assert along_hulls([curve], 5) == [10]


def test_points_above_the_hull_are_passed_over():
    curve = Curve(np.array([100, 50, 40, 10]), np.array([0.0, 5.0, 5.0, 6.0]), False)
    assert along_hulls([curve], 60) == [10]
