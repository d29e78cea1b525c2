"""Latencies of models, measured side by side, so that other load on the machine affects them alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.runtime.session import Session

SAMPLE_SECONDS = 0.005
"""Each sample repeats the run to fill this time: shorter ones measure the clock and the system."""
LEAST_ROUNDS = 3
MOST_TIMES, PRECISION = 4, 0.01
"""Most rounds, as a multiple of the requested ones, while the standard error of a time ratio exceeds the precision."""
MARGIN = 0.05
"""Relative difference between two timings that counts as noise: a candidate is chosen only if it is faster by this."""


@dataclass(frozen=True, eq=False)
class Latency:
    """Times per run of one model.

    `spread` is the interquartile range over the median; `runs` is the total number of timed runs; `rounds_ms` are the
    times of each round, for paired comparison.
    """

    median_ms: float
    spread: float
    min_ms: float
    runs: int
    rounds_ms: np.ndarray

    def __str__(self) -> str:
        return f"{self.median_ms:.3f} ms ± {100 * self.spread:.0f} %"


def is_faster(candidate_ms: float, reference_ms: float) -> bool:
    """Whether a time is at least `MARGIN` shorter than another, which is enough to base a choice on."""
    return candidate_ms <= (1 - MARGIN) * reference_ms


@dataclass(frozen=True)
class Ratio:
    """A model's time relative to another's: the median over rounds, and its spread."""

    median: float
    spread: float


Feeds: TypeAlias = Mapping[str, np.ndarray]


def interleaved(
    sessions: Mapping[str, Session],
    feeds: Feeds | Callable[[Session], Feeds],
    *,
    rounds: int = 30,
    warmup: int = 3,
    budget_seconds: float = 10.0,
) -> dict[str, Latency]:
    """Time every session in rounds in which each has one turn, on the same inputs or on those that `feeds` gives it.

    The order rotates from round to round. In a turn a session runs repeatedly to fill `SAMPLE_SECONDS`. There are
    `rounds` rounds, more on a busy machine (see `PRECISION`), fewer once `budget_seconds` have passed, at least
    `LEAST_ROUNDS`. Each session first runs `warmup` times, uncounted. Raises the errors of the sessions.
    """
    given = {name: feeds(session) if callable(feeds) else feeds for name, session in sessions.items()}
    runs = {name: session.runner(given[name]) for name, session in sessions.items()}
    with _without_garbage_collection():
        repeats = {name: _repeats(sessions[name], given[name], run, warmup) for name, run in runs.items()}
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
    """The time of `candidate` over that of `reference`, both from one call of `interleaved`.

    Ratios are taken round by round: load on the machine in a round slows both.
    """
    return Ratio(*_median_and_spread(candidate.rounds_ms / reference.rounds_ms))


def _error(times: list[list[float]]) -> float:
    """The standard error of the median ratio to the first model, the largest over models."""
    ratios = (np.array(found) / np.array(times[0]) for found in times[1:])
    return max((0.93 * _median_and_spread(r)[1] / math.sqrt(len(r)) for r in ratios), default=0.0)


def _latency(rounds_ms: np.ndarray, repeats: int) -> Latency:
    median, spread = _median_and_spread(rounds_ms)
    return Latency(median, spread, float(rounds_ms.min()), repeats * len(rounds_ms), rounds_ms)


def _median_and_spread(values: np.ndarray) -> tuple[float, float]:
    """The median, and the interquartile range relative to it."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(median), float((high - low) / median)


def _repeats(session: Session, feeds: Mapping[str, np.ndarray], run: Callable[[], object], warmup: int) -> int:
    """The number of runs that fill a sample, estimated from the fastest warm-up run."""
    session.run(feeds)  # fails with a CompressError, unlike the bare run
    fastest = min(_seconds(run, 1) for _ in range(max(1, warmup)))
    return max(1, math.ceil(SAMPLE_SECONDS / max(fastest, 1e-7)))


def _seconds(run: Callable[[], object], repeats: int) -> float:
    """Seconds per run over `repeats` runs in a row."""
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
