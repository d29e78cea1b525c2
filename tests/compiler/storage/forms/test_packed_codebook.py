from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.storage.forms.packed_codebook import MOST, PACKED
from onnx_compress.compiler.storage.weight import WeightValues


@pytest.mark.parametrize(
    ("distinct", "bits"), [(1, 1), (2, 1), (3, 1.6), (4, 2), (6, 8 / 3), (9, 3.2), (16, 4), (40, 16 / 3)]
)
def test_bits_per_element(distinct, bits):
    weight = WeightValues(np.resize(np.arange(distinct, dtype=np.float32), 1 << 20))
    assert PACKED.least(weight, 11) == pytest.approx(bits * (1 << 20) / 8, abs=2)
    assert PACKED.least(weight, 21) == PACKED.least(weight, 11), "it uses no 4-bit integers"


def test_short_streams_of_17_values_are_divided():
    weight = WeightValues(np.resize(np.arange(17, dtype=np.float32), 15_000))
    assert PACKED.least(weight, 13) == 8 * 1000


def test_many_values_are_left_to_the_other_form():
    assert PACKED.least(WeightValues(np.resize(np.arange(MOST + 1, dtype=np.float32), 4000)), 13) is None
    assert PACKED.least(WeightValues(np.arange(300, dtype=np.float32)), 13) is None
