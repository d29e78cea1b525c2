"""The stretch of a pipeline that has open strengths: searched, run once, and explained in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, isfinite
from typing import Any

from onnx_compress.compiler.budget.search import HIGH, LOW, Found, Trial, gains, search
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Saving
from onnx_compress.compiler.pipeline.execute import Applied, Executor
from onnx_compress.compiler.pipeline.held_out import HeldOut
from onnx_compress.compiler.pipeline.recipe import Step
from onnx_compress.compiler.pipeline.rehearsal import Rehearsal
from onnx_compress.compiler.pipeline.spec import render_one
from onnx_compress.compiler.pipeline.stages import with_companions
from onnx_compress.compiler.runtime.timing.latency import is_faster


@dataclass(frozen=True)
class Entry:
    """The outcome of one step. `reason` says why an open one is not in the result; empty if it is.

    `is_costly`: because of the budget or the time; `is_served`: a companion does its work better.
    """

    step: Step
    applied: Applied
    reason: str = ""
    is_costly: bool = False
    is_served: bool = False


@dataclass(frozen=True)
class Stretch:
    """The outcome of a stretch of steps: `entries` in order, and the resulting `model`.

    `model` is None if no open strength is kept: then the others still have to be judged one by one, and `base`
    holds their outcome, so that it is reused.
    """

    entries: tuple[Entry, ...]
    model: Model | None
    base: Trial


def run(executor: Executor, judge: HeldOut, model: Model, steps: Sequence[Step], last: Step | None) -> Stretch:
    """Run `steps` on `model`, the open ones at the strengths that save most within the judge's budget of points."""
    whole, implied = with_companions(steps)
    rehearsal = Rehearsal(executor, judge, model, whole, last)
    told = _Told(rehearsal, frozenset(implied))
    if rehearsal.base.drop > judge.max_drop:
        cost = f"{rehearsal.base.drop:.2f} points of {judge.max_drop:g}"
        return told.nothing(Found(None, (), (rehearsal.base,)), f"the other passes alone cost {cost}: nothing is left")
    if Saving.TIME not in rehearsal.savings:
        rehearsal.drop_base()
    found = search(rehearsal, rehearsal.base, judge.max_drop, HIGH if Saving.TIME in rehearsal.savings else LOW)
    if found.best is None:
        return told.nothing(found, told.too_costly(found, judge.max_drop))
    slower = told.too_slow(found.best)
    return told.nothing(found, slower) if slower else told.result(found)


@dataclass(frozen=True, eq=False)
class _Told:
    """Puts the outcome of a search into words. `implied` are the places of steps that the user did not name."""

    rehearsal: Rehearsal
    implied: frozenset[int]

    def too_costly(self, found: Found, budget: float) -> str:
        """Why no strength fits the budget; empty if some fit and none saves anything."""
        weakest = min(found.tried, key=lambda trial: trial.drop, default=None)
        if weakest is None or weakest.drop <= budget:
            return ""
        return f"even {self._strengths(weakest)} costs {weakest.drop:.2f} points of {budget:g}"

    def too_slow(self, best: Trial) -> str:
        """Why the result does not pay although it fits, or an empty string."""
        if self.rehearsal.savings != {Saving.TIME} or is_faster(exp(best.cost), 1.0):
            return ""
        return f"with it the result takes {exp(best.cost):.2f}× the time, which is not faster"

    def nothing(self, found: Found, reason: str) -> Stretch:
        """No open strength is kept."""
        entries = [
            Entry(step, self._untouched(place, found), reason or "it finds nothing that saves anything", bool(reason))
            for place, step in self._open()
            if place not in self.implied
        ]
        return Stretch(tuple(entries), None, self.rehearsal.base)

    def result(self, found: Found) -> Stretch:
        """The steps as the winning trial ran them."""
        assert found.best is not None
        applied: Mapping[int, Applied] = found.best.result
        levels = dict(zip(self.rehearsal.places, found.best.levels))
        entries = []
        for place, step in enumerate(self.rehearsal.steps):
            if place not in levels:
                entries.append(Entry(step, applied[place]))
            elif levels[place]:
                one = applied[place]
                notes = {**one.notes, **self._notes(place, found)}
                done = replace(one, notes=notes, seconds=self._seconds(place, found), missed=())
                entries.append(Entry(self.rehearsal.at(place, levels[place]), done, self._said(place, found)))
            elif place not in self.implied:
                rival = self._companion(step, levels)
                reason = f"{rival or 'another pass'} saves more for what it loses"
                entries.append(Entry(step, self._untouched(place, found), reason, not rival, bool(rival)))
        return Stretch(tuple(entries), applied[max(applied)].model, self.rehearsal.base)

    def _open(self) -> list[tuple[int, Step]]:
        return [(place, self.rehearsal.steps[place]) for place in self.rehearsal.places]

    def _companion(self, step: Step, levels: Mapping[int, int]) -> str:
        """The companion of a step that is in the result, or an empty string."""
        kept = {self.rehearsal.steps[place].item.name for place, level in levels.items() if level}
        return next((name for name in step.item.companions if name in kept), "")

    def _untouched(self, place: int, found: Found) -> Applied:
        skips = self.rehearsal.skips.get(place, ())
        return Applied(self.rehearsal.model, 0, self._seconds(place, found), skips, self._notes(place, found))

    def _seconds(self, place: int, found: Found) -> float:
        """The time of the trials in which this is the last strength that is set."""
        index = self.rehearsal.places.index(place)
        return sum(trial.seconds for trial in found.tried if _asked_by(trial) == index)

    def _notes(self, place: int, found: Found) -> dict[str, Any]:
        """All trials with their strengths, loss and saving, and what this strength brought."""
        notes: dict[str, Any] = {"tried": [self._trial(trial) for trial in found.tried]}
        gain = self._gain(place, found)
        return notes if gain is None else {**notes, "gain": {"saved": round(gain[0], 3), "points": round(gain[1], 3)}}

    def _gain(self, place: int, found: Found) -> tuple[float, float] | None:
        """The share that a strength saved and the points it lost in cheap trials; None where nothing was measured."""
        if len(self.rehearsal.places) == 1 and Saving.TIME not in self.rehearsal.savings:
            return None
        saved, lost = gains(found.path)[self.rehearsal.places.index(place)]
        return (1 - exp(-saved), lost) if saved else None

    def _said(self, place: int, found: Found) -> str:
        """What a strength brought, for the report."""
        gain = self._gain(place, found)
        if gain is None:
            return ""
        both = "the time and bytes together" if len(self.rehearsal.savings) > 1 else ""
        what = both or ("the time" if Saving.TIME in self.rehearsal.savings else "the bytes")
        return f"saves {gain[0]:.0%} of {what} for {gain[1]:.2f} points, by its trials"

    def _trial(self, trial: Trial) -> dict[str, Any]:
        said: dict[str, Any] = {"strengths": self._strengths(trial), "drop": round(trial.drop, 3)}
        if isfinite(trial.cost) and (Saving.TIME in self.rehearsal.savings or len(trial.levels) > 1):
            said["cost"] = round(exp(trial.cost), 3)
        return {**said, "seconds": round(trial.seconds, 1)}

    def _strengths(self, trial: Trial) -> str:
        """The strengths of a trial in the form of a specification."""
        places = zip(self.rehearsal.places, trial.levels)
        return ",".join(render_one(self.rehearsal.at(place, level).item) for place, level in places if level)


def _asked_by(trial: Trial) -> int:
    """The strength to which a trial's time is charged: the last one that is set."""
    return max((i for i, level in enumerate(trial.levels) if level), default=0)
