from __future__ import annotations

import pytest

from onnx_compress.compiler.repair.effort import COARSE, FULL, Effort


@pytest.mark.parametrize(
    ("effort", "count", "samples"), [(FULL, 10_000, 10_000), (COARSE, 10_000, 256), (COARSE, 9, 9)]
)
def test_samples(effort, count, samples):
    assert effort.at_most(count) == samples


@pytest.mark.parametrize(("share", "count", "rounds"), [(1.0, 7, 7), (0.3, 10, 3), (0.3, 1, 1), (0.01, 20, 1)])
def test_at_least_one_round_is_run(share, count, rounds):
    assert Effort(rounds=share).rounds_of(count) == rounds
