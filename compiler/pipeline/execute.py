"""Run one pass on a copy of the model, and reject a result that is not a sound model."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from onnx_compress.compiler.errors import ModelError, PassError, UserError
from onnx_compress.compiler.ir.memory import Memory
from onnx_compress.compiler.ir.model import Model, State
from onnx_compress.compiler.pipeline import checks
from onnx_compress.compiler.pipeline.base import Pass
from onnx_compress.compiler.pipeline.context import Context, Finish, Judge, Progress, Skip
from onnx_compress.compiler.pipeline.recipe import Step, steps_of
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.pipeline.spec import render_one
from onnx_compress.compiler.repair.effort import FULL, Effort
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.specs import specs

Bars = Callable[[str, int], AbstractContextManager[Progress]]


@dataclass(frozen=True, eq=False)
class Applied:
    """The outcome of a pass: `model` is the very object it was given if nothing changed."""

    model: Model
    changed: int
    seconds: float
    skips: tuple[Skip, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Terms:
    """The conditions of a pass's run.

    `judge` is the judge it answers to, `effort` the limit for its repairs. `data` are its calibration samples
    (None: all), `finish` applies the later passes to its result (see `Context`). `is_checked`: its result is
    checked, which a model that is only timed does not need. `before` names the passes that ran, for messages.
    """

    judge: Judge
    effort: Effort = FULL
    data: Dataset | None = None
    finish: Finish | None = None
    is_checked: bool = True
    before: tuple[str, ...] = ()


@dataclass
class Executor:
    """Runs passes, each on a copy of the model, so that a failed one leaves nothing behind.

    `reference` is the model that repairs aim at; `data` are the calibration samples. Results of analyses and passes
    are remembered from one run to the next, those of passes as long as somebody holds them.
    """

    reference: Model
    data: Dataset
    settings: Settings
    bars: Bars | None = None
    memory: Memory = field(default_factory=Memory)
    _applied: WeakKeyDictionary[State, WeakValueDictionary[Hashable, Applied]] = field(
        default_factory=WeakKeyDictionary
    )

    def apply(self, model: Model, step: Step, terms: Terms) -> Applied:
        """Run `step` on a copy of `model` and check the result.

        Raises PassError if the pass crashes or leaves a model that is invalid, does not load, or has another
        signature.
        """
        twin = self.memory.twin(model)
        context = self.context(twin, step, terms)
        started = time.perf_counter()
        try:
            changed = self._run(step.item, twin, context, terms.before)
        finally:
            self.memory.release(twin)
        result = twin if changed else model
        if changed and terms.is_checked:
            check_result(model, twin, step.item, terms.before)
        seconds = time.perf_counter() - started
        return Applied(result, changed, seconds, tuple(context.skips), context.notes, tuple(context.missed))

    def recalled(self, model: Model, step: Step, terms: Terms) -> Applied:
        """The result of `apply`, reused if somebody still holds it."""
        known = self._applied.setdefault(model.state, WeakValueDictionary())
        key = repr(step), terms.effort, id(terms.judge), terms.finish is None
        found = known.get(key)
        if found is None:
            found = known[key] = self.apply(model, step, terms)
        return found

    def context(self, model: Model, step: Step, terms: Terms) -> Context:
        """The context of a step that runs on `model`."""
        data = terms.data or self.data
        context = Context(
            model=model,
            original=self.reference,
            data=data and data.for_inputs(specs(model).inputs),
            judge=terms.judge,
            seed=self.settings.seed,
            pass_name=step.item.name,
            exclude=(*self.settings.exclude, *step.exclude),
            overrides=tuple((rule.match, rule.options) for rule in step.layers),
            opset=self.settings.opset,
            effort=terms.effort,
            finish=terms.finish,
            memory=self.memory,
            bars=self.bars,
        )
        context.run_steps = lambda steps: self._run_inner(steps, context, terms)
        return context

    def _run_inner(self, steps: object, outer: Context, terms: Terms) -> int:
        """Implements `ctx.run`: other passes on the same model, whose skips and notes join the outer pass's."""
        changed = 0
        for step in steps_of(steps):
            inner = self.context(outer.model, step, terms)
            changed += step.item.run(outer.model, inner)
            outer.skips += inner.skips
            outer.missed += inner.missed
            outer.notes.update(inner.notes)
        return changed

    def _run(self, item: Pass, model: Model, context: Context, before: tuple[str, ...]) -> int:
        try:
            return item.run(model, context)
        except UserError:
            raise
        except Exception as error:
            raise PassError(
                f"{item.name}: failed with {type(error).__name__}: {_one_line(error)}",
                pass_name=render_one(item),
                passes_before=before,
            ) from error


def check_result(before: Model, after: Model, item: Pass, passes_before: tuple[str, ...] = ()) -> None:
    """Raise PassError unless `after` is valid, loads in onnxruntime and has the signature of `before`."""
    fault = checks.fault_of(after)
    if fault is None:
        fault = checks.signature_change(before, after, outputs_only=item.changes_inputs)
    if fault is None:
        try:
            session.create(after, optimize=False)
        except ModelError as error:
            fault = str(error)
    if fault is not None:
        raise PassError(
            f"{item.name}: left a broken model: {fault}", pass_name=render_one(item), passes_before=passes_before
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or "no message"
