from __future__ import annotations

import gc
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.session import Session
from onnx_compress.compiler.runtime.timing import latency
from onnx_compress.compiler.runtime.timing.latency import interleaved, is_faster, ratio
from tests.compiler.runtime.nets import IDENTITY, net

NO_FEEDS: dict[str, np.ndarray] = {}


class Clock:
    """A clock that advances only while a fake session runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slowdown: Callable[[float], float] = lambda now: 1.0
        self.order: list[str] = []
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def session(self, name: str, seconds: float) -> Session:
        clock = self

        class Fake(Session):
            def __init__(self) -> None:
                self.collected: set[bool] = set()

            def run(self, feeds: Mapping[str, np.ndarray], names: object = None) -> dict[str, np.ndarray]:
                return {}

            def runner(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
                return self.step

            def step(self) -> None:
                assert not gc.isenabled()
                clock.now += seconds * clock.slowdown(clock.now)
                clock.order.append(name)

        return Fake()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_times_are_per_run_whatever_the_number_of_runs(clock: Clock) -> None:
    found = interleaved({"a": clock.session("a", 0.001), "b": clock.session("b", 0.02)}, NO_FEEDS, rounds=10)
    assert found["a"].median_ms == pytest.approx(1)
    assert found["b"].median_ms == pytest.approx(20)
    assert found["a"].spread == pytest.approx(0, abs=1e-9)
    assert (found["a"].runs, found["b"].runs) == (50, 10)
    assert gc.isenabled()


def test_a_sample_takes_five_milliseconds_and_the_order_rotates(clock: Clock) -> None:
    sessions = {name: clock.session(name, 2.0**-8) for name in "abc"}
    interleaved(sessions, NO_FEEDS, rounds=4, warmup=1)
    assert "".join(clock.order) == "abc" + "aabbcc" + "bbccaa" + "ccaabb" + "aabbcc"


def test_rounds_end_with_the_budget_but_three_are_needed(clock: Clock) -> None:
    slow = {"a": clock.session("a", 30.0)}
    assert len(interleaved(slow, NO_FEEDS, budget_seconds=10)["a"].rounds_ms) == 3
    quick = {"a": clock.session("a", 0.5)}
    assert len(interleaved(quick, NO_FEEDS, rounds=100, budget_seconds=10)["a"].rounds_ms) in (20, 21)


def test_a_slow_phase_of_the_machine_cancels_out_of_the_ratio(clock: Clock) -> None:
    clock.slowdown = lambda now: 3.0 if len(clock.order) // 2 % 2 else 1.0  # every second round
    found = interleaved({"a": clock.session("a", 0.01), "b": clock.session("b", 0.02)}, NO_FEEDS, rounds=101)
    compared = ratio(found["b"], found["a"])
    assert compared.median == pytest.approx(2)
    assert compared.spread == pytest.approx(0, abs=1e-6)
    assert found["a"].spread > 0.5


def test_the_spread_is_the_interquartile_range_over_the_median(clock: Clock) -> None:
    factors = iter(np.linspace(1, 2, 101))
    clock.slowdown = lambda now: next(factors)
    found = interleaved({"a": clock.session("a", 1.0)}, NO_FEEDS, rounds=100, warmup=1, budget_seconds=1e9)["a"]
    assert found.spread == pytest.approx(0.5 / 1.5, rel=0.02)
    assert found.median_ms == pytest.approx(1505)
    assert found.min_ms == pytest.approx(1010)
    assert str(found) == "1505.000 ms ± 33 %"


def test_inputs_that_do_not_match_raise_a_data_error() -> None:
    with pytest.raises(DataError):
        interleaved({"a": session.create(net(IDENTITY))}, {"x": np.zeros((1, 4), np.float32)})


def test_real_sessions() -> None:
    loaded = session.create(net(IDENTITY))
    found = interleaved({"a": loaded}, {"x": np.zeros((1, 3), np.float32)}, rounds=3, budget_seconds=0.1)["a"]
    assert 0 < found.min_ms <= found.median_ms < 5
    assert found.runs >= 3


def test_a_busy_machine_gets_more_rounds(clock: Clock) -> None:
    noise = np.random.default_rng(0)
    clock.slowdown = lambda now: noise.uniform(1, 1.5)
    found = interleaved({"a": clock.session("a", 0.01), "b": clock.session("b", 0.02)}, NO_FEEDS, rounds=10)
    assert len(found["a"].rounds_ms) == 40
    clock.slowdown = lambda now: noise.uniform(1, 1.01)
    found = interleaved({"a": clock.session("a", 0.01), "b": clock.session("b", 0.02)}, NO_FEEDS, rounds=10)
    assert len(found["a"].rounds_ms) == 10


def test_a_time_counts_as_shorter_only_beyond_the_margin() -> None:
    assert is_faster(94.9, 100.0)
    assert is_faster(1.9, 2.0)
    assert not is_faster(95.1, 100.0)
    assert not is_faster(100.0, 100.0)
