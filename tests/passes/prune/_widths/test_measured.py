from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.passes.prune._widths.loss_tables import Table
from onnx_compress.passes.prune._widths.measured import MOST_MACS, _allocated, _effort, _without


@pytest.mark.parametrize(("macs", "expected"), [(10**6, (256, 9)), (1 << 33, (32, 4)), (1 << 30, (64, 5))])
def test_large_models_are_measured_less(macs, expected):
    samples, widths = _effort([np.arange(16, 0, -1)] * 8, macs)
    assert widths == expected[1]
    assert samples >= expected[0]
    assert samples * macs * 8 * (widths - 1) <= MOST_MACS or samples == 32


def table(*losses, widths=(8, 6, 4)):
    return Table(np.arange(8), np.array(widths), np.array(losses, float))


def test_widths_of_least_loss_are_allocated():
    """The second group loses less, so it is narrowed first."""
    kept, losses = _allocated([table(0, 5, 9), table(0, 1, 2)], lambda widths: int(widths.sum()), 12)
    assert (kept.tolist(), losses.tolist()) == ([8, 4], [0, 2])


def test_a_target_out_of_reach_takes_the_narrowest():
    kept, _ = _allocated([table(0, 5, 9), table(0, 1, 2)], lambda widths: int(widths.sum()), 3)
    assert kept.tolist() == [4, 4]


def test_widths_that_save_too_little_are_taken_out():
    assert _without(table(0, 1, 2), 6).kept.tolist() == [8, 4]
    assert _without(table(0, 1, 2), 4).kept.tolist() == [8]
