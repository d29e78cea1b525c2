"""Running one pass on a copy of the model, and refusing a result that is not a sound model any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from onnx_compress.compiler.errors import ModelError, PassError, UserError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline import checks
from onnx_compress.compiler.pipeline.base import Pass
from onnx_compress.compiler.pipeline.context import Context, Judge, Progress, Skip
from onnx_compress.compiler.pipeline.recipe import Step
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.pipeline.spec import parse, render_one
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.data.dataset import Dataset

Bars = Callable[[str, int], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Applied:
    """What a pass made of a model: `model` is the very object it was given when nothing changed."""

    model: Model
    changed: int
    seconds: float
    skips: tuple[Skip, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Executor:
    """Runs passes, each on a clone, so that a failed one leaves nothing behind.

    `reference` is the model that lossy passes are measured against and refit aims at; `data` are the
    calibration samples.
    """

    reference: Model
    data: Dataset
    judge: Judge
    settings: Settings
    bars: Bars | None = None

    def apply(self, model: Model, step: Step, *, judge: Judge | None = None, before: tuple[str, ...] = ()) -> Applied:
        """Run `step` on a clone of `model` and check what it left.

        `before` are the passes that already ran, for messages. Raises PassError when the pass crashes or
        leaves a model that is invalid, does not load, or has another signature.
        """
        clone = model.clone()
        context = self._context(clone, step, judge or self.judge)
        started = time.perf_counter()
        changed = self._run(step.item, clone, context, before)
        seconds = time.perf_counter() - started
        if changed == 0:
            return Applied(model, 0, seconds, tuple(context.skips), context.notes)
        check_result(model, clone, step.item, before)
        return Applied(clone, changed, seconds, tuple(context.skips), context.notes)

    def _context(self, model: Model, step: Step, judge: Judge) -> Context:
        context = Context(
            model=model,
            original=self.reference,
            data=self.data,
            judge=judge,
            seed=self.settings.seed,
            pass_name=step.item.name,
            exclude=self.settings.exclude,
            overrides=tuple((rule.match, rule.options) for rule in step.layers),
            opset=self.settings.opset,
            bars=self.bars,
        )
        context.run_spec = lambda text: self._run_inner(text, context)
        return context

    def _run_inner(self, text: str, outer: Context) -> int:
        """What `ctx.run` does: other passes on the same model, their skips and notes joined to the outer one's."""
        changed = 0
        for item in parse(text):
            inner = self._context(outer.model, Step(item), outer.judge)
            changed += item.run(outer.model, inner)
            outer.skips += inner.skips
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
    if fault is None and not item.changes_inputs:
        fault = checks.signature_change(before, after)
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
