"""Choose the strengths that are left open: they are raised together, as far as the budget allows.

Several open strengths share one budget of points. Starting from none, each step raises the strength that saves most for
its loss; steps get smaller when they stop fitting. Candidates are compared by cheap trials, and the last ones are run
in full: the winning trial is the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Any, Protocol, TypeAlias

from onnx_compress.compiler.repair.effort import COARSE, FULL, MODERATE, Effort
from onnx_compress.compiler.runtime.timing.latency import MARGIN


@dataclass(frozen=True)
class Trust:
    """How far cheap trials are trusted: with `effort` they repair less than the full run at the end.

    They may lose `near` times the budget. A result of a full run is raised further while it loses at most `slack` of
    the budget; two results are alive at once then.
    """

    near: float
    slack: float
    effort: Effort


HIGH = Trust(near=1.25, slack=0.5, effort=COARSE)
"""For results with fewer weights, of which two may be alive."""
LOW = Trust(near=2.0, slack=0.0, effort=MODERATE)
"""For results with as many weights as the model: one more full run that does not fit is cheaper than their memory."""
LEAST_LOSS = 0.02
"""Smaller losses, in points, count as this: they are noise, and the division by them must stay finite."""
LEAST_SAVING = 0.01
"""A step must save this share to be taken: times are not measured more precisely."""

Levels: TypeAlias = tuple[int, ...]
"""The level of each open strength: 0 none, otherwise the n-th value, from the weakest to the strongest."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A setting of all open strengths, and the outcome of the whole pipeline with it.

    `drop` is the loss in points; `cost` the logarithm of what is minimized, 0 for the pipeline with none of them.
    `result` is what the runner made; whoever holds the trial keeps it alive.
    """

    levels: Levels
    drop: float
    cost: float
    seconds: float
    effort: Effort
    result: Any = None

    def without_result(self) -> Trial:
        """The figures alone."""
        return replace(self, result=None)


class Runner(Protocol):
    """Runs the pipeline."""

    @property
    def heights(self) -> Levels:
        """The number of values of each open strength."""
        ...

    def trial(self, levels: Levels, effort: Effort) -> Trial:
        """The pipeline with these strengths."""
        ...


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome of a search: the winning trial, run in full, None if nothing fits; and all trials that were run."""

    best: Trial | None
    tried: tuple[Trial, ...]
    path: tuple[Trial, ...]
    """The steps taken, from none on."""


def search(runner: Runner, base: Trial, budget: float, trust: Trust = HIGH) -> Found:
    """The setting that saves most within `budget` points; `base` is the trial with no strength set."""
    climb = _Climb(runner, trust.near * budget, trust.effort, base)
    climb.run()
    best = _first_fitting(climb, climb.finalists(), budget)
    while best is not None and best.drop <= trust.slack * budget:
        stronger = _first_fitting(climb, climb.above(best.levels), budget)
        if stronger is None or best.cost - stronger.cost < LEAST_SAVING:
            break
        best = stronger
    return Found(best, tuple(climb.tried), tuple(climb.path))


def _first_fitting(climb: _Climb, candidates: Iterator[Levels], budget: float) -> Trial | None:
    """The first of the candidates that stays within the budget when it is run in full."""
    for levels in candidates:
        trial = climb.runner.trial(levels, FULL)
        climb.tried.append(trial.without_result())
        if trial.drop <= budget:
            return trial
        del trial  # its models must not stay alive while the next one's are made
    return None


class _Climb:
    """Cheap trials upwards from none, each strength between a value that was tried and one that did not fit.

    The saving of a strength per loss mostly falls as it is raised, so one that promised less than another is not
    tried again before the other has fallen behind (lazy greedy; Minoux, 1978).
    """

    def __init__(self, runner: Runner, most: float, effort: Effort, base: Trial) -> None:
        self.runner = runner
        self.most = most
        self.effort = effort
        self.at = base
        self.path = [base.without_result()]
        self.tried: list[Trial] = []
        self.low = [0] * len(runner.heights)
        """The highest tried value of each that fits."""
        self.high = [height + 1 for height in runner.heights]
        """The lowest value of each known not to fit: raising others does not make it fit."""
        self.rates = [inf] * len(runner.heights)
        """The saving per loss of each strength when it was last raised."""
        self.waiting: dict[int, Trial] = {}
        """Raises of the present setting that fit and have not been taken."""

    def run(self) -> None:
        """Take steps until no candidate remains."""
        while candidates := [i for i in range(len(self.high)) if i in self.waiting or self.high[i] - self.low[i] > 1]:
            i = max(candidates, key=lambda i: self.rates[i])
            if i in self.waiting:
                self._step_to(self.waiting[i])
            else:
                self._try(i)

    def _try(self, i: int) -> None:
        """Raise one strength: half the way to the value that does not fit, or a quarter if several can be raised."""
        parts = 2 if len(self.high) == 1 else 4
        value = self.low[i] + max(1, (self.high[i] - self.low[i]) // parts)
        trial = self.runner.trial((*self.at.levels[:i], value, *self.at.levels[i + 1 :]), self.effort)
        self.tried.append(trial.without_result())
        if trial.drop > self.most:
            # Where even a value that costs too much saves too little, weaker ones save no more.
            self.high[i] = value if self.at.cost - trial.cost >= MARGIN else self.low[i] + 1
            return
        self.low[i] = value
        if self.at.cost - trial.cost >= LEAST_SAVING:
            self.rates[i] = self._rate(trial)
            # Nothing is built on the result of a single strength.
            self.waiting[i] = trial if len(self.high) > 1 else trial.without_result()
        else:
            self.rates[i] = min(self.rates[i], 0.0)

    def _step_to(self, trial: Trial) -> None:
        """Move there: trials next to the old setting say nothing about the new one."""
        self.at = trial
        self.path.append(trial.without_result())
        self.low = list(trial.levels)
        self.waiting.clear()

    def _rate(self, trial: Trial) -> float:
        return (self.at.cost - trial.cost) / max(LEAST_LOSS, trial.drop - self.at.drop)

    def finalists(self) -> Iterator[Levels]:
        """The settings to run in full, until one fits: the one reached, then the way back, value by value."""
        self.at = self.at.without_result()
        steps = [trial.levels for trial in self.path]
        for before, after in zip(reversed(steps[:-1]), reversed(steps[1:]), strict=True):
            i = _raised(before, after)
            for value in range(after[i], before[i], -1):
                yield (*after[:i], value, *after[i + 1 :])

    def above(self, levels: Levels) -> Iterator[Levels]:
        """One value more of the strength that was raised last."""
        i = _raised(self.path[-2].levels, self.path[-1].levels)
        if levels[i] < self.runner.heights[i]:
            yield (*levels[:i], levels[i] + 1, *levels[i + 1 :])


def _raised(before: Levels, after: Levels) -> int:
    """The strength that a step raised."""
    return next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)


def gains(path: Sequence[Trial]) -> list[tuple[float, float]]:
    """For each strength the cost that its steps saved and the points that they lost, according to the cheap trials."""
    found = [(0.0, 0.0) for _ in path[0].levels]
    for before, after in pairwise(path):
        i = _raised(before.levels, after.levels)
        saved, lost = found[i]
        found[i] = saved + before.cost - after.cost, lost + after.drop - before.drop
    return found
