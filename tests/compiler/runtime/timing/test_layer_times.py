from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.timing import latency_table, layer_times
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable
from onnx_compress.compiler.runtime.timing.layer_times import RUNS, Forms, attributed, typical_ms
from onnx_compress.compiler.runtime.timing.profile import INSERTED
from tests.compiler.runtime.timing.test_profile import FEEDS, conv_net

WIDTHS = [(3,), (11,)]


MODELS = [Model.from_proto(conv_net(*widths)) for widths in WIDTHS]


def forms() -> Forms:
    return Forms(MODELS[0], WIDTHS, lambda i: MODELS[i])


def test_each_layer_of_each_form_is_timed_in_place() -> None:
    done: list[int] = []
    small, large = layer_times.layer_times(forms(), FEEDS, LatencyTable(), advance=lambda: done.append(1))
    assert len(done) == 2
    # Activations and sums are fused into the convolutions; layout conversions count towards the next layer.
    assert {"first", "second", "dense"} <= set(small) <= {"first", "second", "pool", "f", "dense", "bias"}
    assert large["second"] > 2 * small["second"] > 0


def test_the_table_is_used_the_second_time(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "table.json"
    first = layer_times.layer_times(forms(), FEEDS, LatencyTable.load(path))
    monkeypatch.setattr(layer_times, "_measured", lambda *_: pytest.fail("measured again"))
    assert layer_times.layer_times(forms(), FEEDS, LatencyTable.load(path)) == first


def test_the_table_of_another_machine_is_read_and_not_added_to(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "table.json"
    there = layer_times.layer_times(forms(), FEEDS, LatencyTable.load(path))
    monkeypatch.setattr(latency_table, "machine", lambda: "another")
    assert layer_times.layer_times(forms(), FEEDS, LatencyTable.load(path)) == there
    with pytest.raises(UsageError, match=r"holds the times of another machine .* run the same command there first"):
        layer_times.layer_times(forms(), {"x": np.ones((2, 3, 32, 32), np.float32)}, LatencyTable.load(path))


def test_the_fastest_third_of_the_warm_runs_counts() -> None:
    turn = [900, 12, 10, 50]
    assert len(turn) == RUNS
    assert typical_ms(turn * 2, turns=2) == pytest.approx(0.010)
    # A node in a loop runs twice per run, one in a branch only in some runs.
    looped = [v for ms in turn * 2 for v in (ms, ms)]
    assert typical_ms(looped, turns=2) == pytest.approx(0.020)
    assert typical_ms([8, 8], turns=2) == pytest.approx(0.008 * 2 / 8)


def test_inserted_nodes_count_towards_the_next_layer() -> None:
    inserted = f"ReorderOutput ({INSERTED})"
    spent = [("a", 1.0), (inserted, 0.5), ("inner", 9.0), ("b", 2.0), ("a", 0.25), (inserted, 0.125)]
    assert attributed(spent, ["a", "b"]) == {"a": 1.375, "b": 2.5}
