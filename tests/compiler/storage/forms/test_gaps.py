from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_compress.compiler.storage.forms import gaps, nonzeros
from onnx_compress.compiler.storage.forms.gaps import BASES, GAPS, Gaps, best_base
from onnx_compress.compiler.storage.forms.symbols import Packing
from onnx_compress.compiler.storage.weight import WeightValues


@given(places=st.sets(st.integers(0, 500)), base=st.sampled_from((2, 4, 9, 256)), multiple=st.sampled_from((1, 3, 8)))
def test_distances_lead_to_the_positions(places, base, multiple):
    positions = np.array(sorted(places), np.int64)
    found = Gaps.of(positions, base).filled(multiple)
    assert len(found.at) % multiple == 0
    assert found.distances.max(initial=0) < base
    reached = np.cumsum(found.distances)
    assert (reached[found.at >= 0] == positions[found.at[found.at >= 0]]).all()
    assert set(found.at[found.at >= 0].tolist()) == set(range(len(positions)))


def test_a_long_distance_takes_fillers():
    found = Gaps.of(np.array([2, 9]), 4)
    assert found.distances.tolist() == [2, 3, 3, 1]
    assert found.at.tolist() == [0, -1, -1, 1]


def sparse(density: float, shape=(64, 100)) -> WeightValues:
    rng = np.random.default_rng(0)
    values = rng.choice(rng.standard_normal(7), shape) * (rng.random(shape) < density)
    return WeightValues(values.astype(np.float32))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.4])
def test_the_best_base_is_that_of_brute_force(density):
    weight = sparse(density)
    sizes = {}
    for base in BASES:
        count = len(Gaps.of(weight.positions, base).at)
        sizes[base] = Packing.best(base, count, 17).nbytes(count) + nonzeros.packing(weight, count, 17).nbytes(count)
    length, packing = best_base(weight, 17, lambda count: nonzeros.packing(weight, count, 17))
    assert sizes[packing.base] == min(sizes.values())
    assert length == len(Gaps.of(weight.positions, packing.base).at)


def test_where_gaps_never_pay():
    assert GAPS.least(sparse(0.9), 17) is None
    assert GAPS.least(sparse(0.0), 17) < 100


def test_a_large_crowded_weight_must_save_more():
    assert GAPS.share(sparse(0.5)) == 1
    assert GAPS.share(sparse(0.5, (300, 300))) == gaps.CROWDED
    assert GAPS.share(sparse(0.1, (300, 300))) == 1
