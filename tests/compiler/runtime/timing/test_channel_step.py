from __future__ import annotations

import pytest

from onnx_compress.compiler.runtime.timing import channel_step
from onnx_compress.compiler.runtime.timing.channel_step import WIDTHS, step_of
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable


def blocks(size: int) -> dict[int, float]:
    """Times of kernels that process blocks of `size` input and output channels."""
    return {width: float(-(-width // size) * size) ** 2 for width in WIDTHS}


@pytest.mark.parametrize("step", [2, 4, 8, 16, 32])
def test_the_step_is_the_block_of_the_kernels(step: int) -> None:
    assert step_of(blocks(step)) == step


def test_a_width_off_the_step_may_even_cost_more() -> None:
    assert step_of({41: 1.5, 42: 1.5, 44: 1.5, 48: 1.0, 56: 1.8, 64: 1.8}) == 16


def test_the_table_is_used_once_measured(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "table.json"
    synthetic = list(blocks(8).values())
    monkeypatch.setattr(channel_step, "_fastest_ms", lambda runs: synthetic)
    assert channel_step.channel_step(LatencyTable.load(path)) == 8
    monkeypatch.setattr(channel_step, "_fastest_ms", lambda runs: pytest.fail("measured again"))
    assert channel_step.channel_step(LatencyTable.load(path)) == 8


def test_it_can_be_measured() -> None:
    table = LatencyTable()
    assert channel_step.channel_step(table) in (1, 2, 4, 8, 16, 32)
    assert len(table.entries) == len(WIDTHS)
