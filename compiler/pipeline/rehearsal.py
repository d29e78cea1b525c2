"""Trials of a pipeline: its outcome as a whole with some setting of its open strengths."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from glob import escape
from math import inf, log
from typing import Any

from onnx_compress.compiler.budget.search import Levels, Trial
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Saving
from onnx_compress.compiler.pipeline.context import Finish, Judge, Skip
from onnx_compress.compiler.pipeline.execute import Applied, Executor, Terms
from onnx_compress.compiler.pipeline.held_out import HeldOut
from onnx_compress.compiler.pipeline.recipe import Step, steps_of
from onnx_compress.compiler.repair.effort import COARSE, FULL, Effort

SPENT = 1.5
"""A share of the budget that no pass behind makes up for, however the figures scatter on few samples."""
TIMING_SAMPLES = 2
"""Calibration samples of a model that is only timed: its values mean nothing."""


@dataclass(frozen=True, eq=False)
class Unlimited:
    """A judge that measures but allows everything, so that later passes don't give in while others are compared."""

    inner: Judge
    max_drop: float = inf

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass(eq=False)
class Rehearsal:
    """Runs `steps` on `model`, for a search over those with an open strength (see `Runner`).

    `judge` measures; `last` runs behind the search, so that the counted bytes are those of the written file.
    """

    executor: Executor
    judge: HeldOut
    model: Model
    steps: Sequence[Step]
    last: Step | None = None
    skips: dict[int, tuple[Skip, ...]] = field(default_factory=dict)
    """What each open step left alone before any trial, and why."""
    _settled: dict[int, Step] = field(default_factory=dict)
    """The fixed steps with the choices that they made without any open step."""

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The indices of the steps with an open strength."""
        return tuple(i for i, step in enumerate(self.steps) if step.item.is_open())

    @cached_property
    def heights(self) -> Levels:
        """The number of values of each open strength."""
        return tuple(len(self.ladders[i]) for i in self.places)

    @cached_property
    def ladders(self) -> Mapping[int, Sequence[float]]:
        """The values of each open strength, from the weakest to the strongest."""
        contexts = {i: self.executor.context(self.model, self.steps[i], self._terms(i, COARSE)) for i in self.places}
        found = {i: self.steps[i].item.ladder(self.model, context) for i, context in contexts.items()}
        self.skips.update({i: tuple(context.skips) for i, context in contexts.items()})
        return found

    @cached_property
    def savings(self) -> frozenset[Saving]:
        """The objectives of the open strengths."""
        return frozenset(self.steps[i].item.saving for i in self.places)

    @cached_property
    def base(self) -> Trial:
        """The pipeline without its open steps, run in full: the base of comparison, and the result if nothing fits."""
        started = time.perf_counter()
        applied = self._run((0,) * len(self.places), FULL)
        for i, one in applied.items():
            item, left_alone = self.steps[i].item.settled(one.notes)
            names = (*self.steps[i].exclude, *map(escape, left_alone))
            self._settled[i] = replace(self.steps[i], item=item, exclude=names)
        drop = self.judge.drop(self._end(applied))
        return Trial((0,) * len(self.places), drop, 0.0, time.perf_counter() - started, FULL, applied)

    def drop_base(self) -> None:
        """Let go of the models of the base, where nothing is compared with them any more."""
        if len(self.places) > 1:
            _ = self._bytes_without
        self.base = self.base.without_result()

    def trial(self, levels: Levels, effort: Effort) -> Trial:
        """The pipeline with these strengths; its result holds the outcome of each step by its index."""
        base = self.base
        started = time.perf_counter()
        applied = self._run(levels, effort)
        model = self._end(applied)
        drop = (self.judge if effort is FULL else self._rough).drop(model)
        is_whole = len(applied) == sum(map(bool, levels)) + len(self.steps) - len(levels)
        cost = self._cost(model, levels, base) if is_whole else inf
        return Trial(levels, drop, cost, time.perf_counter() - started, effort, applied)

    def at(self, place: int, level: int) -> Step:
        """An open step with its strength set."""
        step = self.steps[place]
        saving = Saving.TIME if Saving.TIME in self.savings else Saving.BYTES
        return replace(step, item=step.item.at(self.ladders[place][level - 1], saving=saving))

    def _run(self, levels: Levels, effort: Effort) -> dict[int, Applied]:
        """The outcome of each step that runs, stopping when the budget is spent beyond repair."""
        model = self.model
        applied: dict[int, Applied] = {}
        set_to = dict(zip(self.places, levels))
        for i, step in enumerate(self.steps):
            level = set_to.get(i)
            if level == 0:
                continue
            chosen = step if level is None else self.at(i, level)
            for part in (chosen,) if effort is FULL else self._cheap(i, chosen):
                applied[i] = self.executor.recalled(model, part, self._terms(i, effort))
                model = applied[i].model
            if effort is FULL and self._is_spent(i, model):
                break
        return applied

    def _is_spent(self, place: int, model: Model) -> bool:
        """Whether the open steps exceed the budget and no later step repairs.

        A later pass that answers to the budget would give up everything without being able to save it.
        """
        is_last = bool(self.places) and place == self.places[-1]
        if not is_last or any(step.item.repairs for step in self.steps[place + 1 :]):
            return False
        return self.judge.drop(model) > SPENT * self.judge.max_drop

    def _cheap(self, i: int, step: Step) -> tuple[Step, ...]:
        """The replacement of a step while candidates are compared."""
        if step.item.stand_in is not None:
            return steps_of(step.item.stand_in)
        return (self._settled.get(i, step),) if i not in self.places else (step,)

    def _terms(self, i: int, effort: Effort) -> Terms:
        finish = self._finish_behind(i) if i in self.places and Saving.TIME in self.savings else None
        return Terms(self.judge if effort is FULL else self._lenient, effort, finish=finish)

    @cached_property
    def _rough(self) -> HeldOut:
        return self.judge.sampled(self.executor.settings)

    @cached_property
    def _lenient(self) -> Judge:
        return Unlimited(self._rough)

    def _finish_behind(self, place: int) -> Finish:
        """The function that applies the fixed steps behind a place to a model."""
        behind = [self._settled[i] for i in range(place + 1, len(self.steps)) if i in self._settled]
        samples = self.executor.data.take(TIMING_SAMPLES, self.executor.settings.seed)
        terms = Terms(self._lenient, COARSE, samples, is_checked=False)

        def finish(model: Model) -> Model:
            for step in behind:
                model = self.executor.apply(model, step, terms).model
            return model

        return finish

    def _end(self, applied: dict[int, Applied]) -> Model:
        return applied[max(applied)].model if applied else self.model

    def _cost(self, model: Model, levels: Levels, base: Trial) -> float:
        """The sum of the logarithms of the objectives, each relative to the pipeline without the open strengths."""
        if len(levels) == 1 and self.savings == {Saving.BYTES}:
            return -float(levels[0])  # the stronger the smaller, so that no bytes need counting
        cost = 0.0
        if Saving.TIME in self.savings:
            without = self._end(base.result)
            times = self.judge.speed({"without": without, "with": model})
            cost += log(times["with"] / times["without"])
        if Saving.BYTES in self.savings:
            cost += log(self._file_bytes(model) / self._bytes_without)
        return cost

    @cached_property
    def _bytes_without(self) -> int:
        return self._file_bytes(self._end(self.base.result))

    def _file_bytes(self, model: Model) -> int:
        written = model if self.last is None else self.executor.apply(model, self.last, Terms(self.judge)).model
        return written.file_bytes()
