"""How long models take, measured side by side, so that what the machine does besides hits them alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.runtime.session import Session

SAMPLE_SECONDS = 0.005
"""A model is run as often in a row as it takes to fill this: a shorter time would be the clock's and the system's."""
LEAST_ROUNDS = 3
MOST_TIMES, PRECISION = 4, 0.01
"""So many times as many rounds there are at most, as long as the standard error of a ratio of times is larger."""


@dataclass(frozen=True, eq=False)
class Latency:
    """Times of one model, per run of it.

    `spread` is the interquartile range over the median; `runs` is how many runs were timed in all;
    `rounds_ms` are the times round by round, for comparing pair by pair.
    """

    median_ms: float
    spread: float
    min_ms: float
    runs: int
    rounds_ms: np.ndarray

    def __str__(self) -> str:
        return f"{self.median_ms:.3f} ms ± {100 * self.spread:.0f} %"


NOISE = 0.05
"""Share of a latency by which two timings of one model may differ."""


@dataclass(frozen=True)
class Ratio:
    """How many times as long a model takes as another: the median over rounds, and their spread."""

    median: float
    spread: float


def interleaved(
    sessions: Mapping[str, Session],
    feeds: Mapping[str, np.ndarray],
    *,
    rounds: int = 30,
    warmup: int = 3,
    budget_seconds: float = 10.0,
) -> dict[str, Latency]:
    """Time every session on the same inputs, in rounds in which each has a turn.

    The order rotates from round to round. In a turn a session runs as often as it takes to fill
    `SAMPLE_SECONDS`. There are `rounds` of them, more on a busy machine (see `PRECISION`), fewer when
    `budget_seconds` are over, never fewer than `LEAST_ROUNDS`. Each session first runs `warmup` times,
    uncounted. Raises what a session raises.
    """
    runs = {name: session.runner(feeds) for name, session in sessions.items()}
    with _without_garbage_collection():
        repeats = {name: _repeats(sessions[name], feeds, run, warmup) for name, run in runs.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        started = time.perf_counter()
        done = 0
        while done < LEAST_ROUNDS or (
            time.perf_counter() - started <= budget_seconds
            and (done < rounds or (done < MOST_TIMES * rounds and _error(list(times.values())) > PRECISION))
        ):
            for name in _rotated(list(runs), done):
                times[name].append(1000 * _seconds(runs[name], repeats[name]))
            done += 1
    return {name: _latency(np.array(found), repeats[name]) for name, found in times.items()}


def ratio(candidate: Latency, reference: Latency) -> Ratio:
    """Time of `candidate` over that of `reference`, both from one call of `interleaved`.

    Ratios are taken round by round: what slowed the machine in a round slowed both.
    """
    return Ratio(*_median_and_spread(candidate.rounds_ms / reference.rounds_ms))


def _error(times: list[list[float]]) -> float:
    """The standard error of the median ratio to the first, of the model where it is largest."""
    ratios = (np.array(found) / np.array(times[0]) for found in times[1:])
    return max((0.93 * _median_and_spread(r)[1] / math.sqrt(len(r)) for r in ratios), default=0.0)


def _latency(rounds_ms: np.ndarray, repeats: int) -> Latency:
    median, spread = _median_and_spread(rounds_ms)
    return Latency(median, spread, float(rounds_ms.min()), repeats * len(rounds_ms), rounds_ms)


def _median_and_spread(values: np.ndarray) -> tuple[float, float]:
    """The median, and the interquartile range over it."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(median), float((high - low) / median)


def _repeats(session: Session, feeds: Mapping[str, np.ndarray], run: Callable[[], object], warmup: int) -> int:
    """Runs that fill a sample, by the fastest of the warm-up."""
    session.run(feeds)  # fails with an error of ours where the bare run would not
    fastest = min(_seconds(run, 1) for _ in range(max(1, warmup)))
    return max(1, math.ceil(SAMPLE_SECONDS / max(fastest, 1e-7)))


def _seconds(run: Callable[[], object], repeats: int) -> float:
    """Seconds per run over `repeats` in a row."""
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - started) / repeats


def _rotated(names: list[str], by: int) -> list[str]:
    shift = by % len(names) if names else 0
    return names[shift:] + names[:shift]


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
