"""The pass manager: runs a pipeline, judges every step, takes back what breaks the budget, records it all.

The order is: `simplify`; the passes asked for; equal initializers merged; `encode`. Lossy passes are judged at
checkpoints: each by itself, or a run of them together with the repairing pass (refit, retraining) that ends
it. What breaks the budget goes back to the checkpoint before. A strength that the user gave is kept and
reported, unless the user set the budget too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from onnx_compress.compiler.errors import PassError
from onnx_compress.compiler.ir.files.merge import merge_equal
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline import checks, registry, search
from onnx_compress.compiler.pipeline.base import Effect
from onnx_compress.compiler.pipeline.execute import Applied, Bars, Executor
from onnx_compress.compiler.pipeline.held_out import HeldOut
from onnx_compress.compiler.pipeline.recipe import Step, check_globs
from onnx_compress.compiler.pipeline.run_report import PassReport, Report
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.pipeline.spec import render
from onnx_compress.compiler.pipeline.summary import summarize
from onnx_compress.compiler.runtime.data.dataset import Dataset

EXACT_TOLERANCE = 1e-5
"""Of the output's scale: what an EXACT pass may move the outputs by."""


@dataclass(frozen=True)
class Outcome:
    """The compressed model and the report on how it came about."""

    model: Model
    report: Report


@dataclass
class _Run:
    """The state of one run: the model at the last checkpoint and what has been recorded.

    `judge` measures against the user's model, for the report; the executor's judge is the one that passes
    answer to.
    """

    executor: Executor
    judge: HeldOut
    settings: Settings
    model: Model
    records: list[PassReport] = field(default_factory=list)
    states: list[Model] = field(default_factory=list)
    """The model after each record, for timing all of them in one run."""

    @property
    def before(self) -> tuple[str, ...]:
        return tuple(record.name for record in self.records)


def compress(
    model: Model,
    steps: Sequence[Step],
    *,
    data: Dataset,
    held_out: Dataset,
    settings: Settings | None = None,
    bars: Bars | None = None,
) -> Outcome:
    """Run `steps` on `model`, which stays as it is.

    `data` are the calibration samples, `held_out` those that everything is judged on. Raises UserError for an
    unsound model or a glob that matches nothing, PassError when a pass fails; the latter carries the last
    good model.
    """
    settings = settings or Settings()
    checks.check_input(model)
    check_globs([*settings.exclude, *(rule.match for step in steps for rule in step.layers)], model)
    judge = HeldOut.of(model, held_out, settings)
    run = _Run(Executor(model, data, judge, settings, bars), judge, settings, model)
    try:
        first, last = whole(steps, settings)
        _run_all(run, first)
        _merge(run)
        for step in last:
            _run_exact(run, step)
    except PassError as error:
        error.last_good = run.model
        raise
    report = summarize(run.records, run.states, run.model, judge, settings, render([step.item for step in steps]))
    return Outcome(run.model, report)


def whole(steps: Sequence[Step], settings: Settings) -> tuple[list[Step], list[Step]]:
    """The steps as they will run: `simplify` in front and `encode` behind, unless `raw` or they are there already.

    `encode` stands apart, because equal weights are merged before it, and no strength is searched with it applied.
    """
    first = list(steps)
    last = [first.pop()] if first and first[-1].item.name == "encode" else []
    if settings.raw:
        return first, last
    if not first or first[0].item.name != "simplify":
        first = [Step(registry.find("simplify")()), *first]
    return first, last or [Step(registry.find("encode")())]


def segments(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps cut at checkpoints: a run of lossy steps goes together with a repairing step that ends it."""
    cut: list[list[Step]] = []
    pending: list[Step] = []
    for step in steps:
        if step.item.effect is Effect.EXACT:
            cut += [[earlier] for earlier in pending] + [[step]]
            pending = []
        elif step.item.repairs:
            cut.append([*pending, step])
            pending = []
        else:
            pending.append(step)
    return cut + [[step] for step in pending]


def _run_all(run: _Run, steps: Sequence[Step]) -> None:
    parts = segments(steps)
    for index, part in enumerate(parts):
        rest = [step for later in parts[index + 1 :] for step in later]
        if part[0].item.effect is Effect.EXACT:
            _run_exact(run, part[0])
        else:
            _run_lossy(run, part, rest)
        if index == 0 and part[0].item.name == "simplify":
            run.executor.reference = run.model


def _run_exact(run: _Run, step: Step) -> None:
    applied = run.executor.apply(run.model, step, before=run.before)
    fault = "" if applied.changed == 0 else run.judge.inexact(run.model, applied.model, EXACT_TOLERANCE)
    fault = fault or _beyond_ceiling(applied.model, run.judge.original, run.settings)
    _record(run, step, applied, fault)
    if not fault:
        run.model = applied.model


def _run_lossy(run: _Run, part: Sequence[Step], rest: Sequence[Step]) -> None:
    """Run one segment; keep it, or go back to the checkpoint before it."""
    model, applied = run.model, []
    for step in part:
        chosen, notes = step, {}
        if step.item.is_open():
            later = [*part[part.index(step) + 1 :], *rest]
            found = search.strongest(run.executor, model, step, later, run.settings.budget)
            if found.step is None:
                nothing = Applied(model, 0, 0.0, (), found.notes)
                _record(run, step, nothing, *(("", found.reason) if found.harmless else (found.reason, "")))
                continue
            chosen, notes = found.step, found.notes
        result = run.executor.apply(model, chosen, before=run.before)
        applied.append((chosen, replace(result, notes={**result.notes, **notes})))
        model = result.model
    if applied:
        _settle(run, applied, model)


def _settle(run: _Run, applied: Sequence[tuple[Step, Applied]], model: Model) -> None:
    judge = run.executor.judge
    drop = judge.drop(model) if model is not run.model else 0.0
    fault = _beyond_ceiling(model, run.judge.original, run.settings)
    is_given = run.settings.max_drop is None and any(step.item.is_given() for step, _ in applied)
    note = ""
    if drop > judge.max_drop:
        cost = f"it costs {drop:.2f} points of {run.judge.basis}, the budget is {run.settings.budget:g}"
        if is_given:
            note = f"{cost}; kept because its strength was given"
        else:
            fault = fault or cost
    for step, result in applied:
        _record(run, step, result, fault, note, model_after=result.model)
    if fault:
        return
    run.model = model
    if note:
        # What the user ordered is paid for: later passes answer for what they cost beyond it.
        run.executor.judge = HeldOut.of(model, run.judge.data, run.settings)


def _beyond_ceiling(model: Model, original: Model, settings: Settings) -> str:
    """Why the user's ceilings forbid a model, or nothing."""
    if settings.opset is not None and model.opset > max(settings.opset, original.opset):
        return f"its result needs opset {model.opset}, the ceiling is {settings.opset}"
    if settings.portable:
        known = {node.domain for node in original.nodes()}
        foreign = next((n for n in model.nodes() if not n.is_standard and n.domain not in known), None)
        if foreign is not None:
            return f"its result uses {foreign.label()} of the domain '{foreign.domain}', which is not portable"
    return ""


def _record(
    run: _Run, step: Step, applied: Applied, fault: str, note: str = "", model_after: Model | None = None
) -> None:
    run.records.append(
        PassReport(
            name=step.item.name,
            options=dict(step.item.values()),
            changed=applied.changed,
            kept=not fault,
            effect=step.item.effect.value,
            reason=fault or note,
            skips=applied.skips,
            notes=applied.notes,
            seconds=applied.seconds,
        )
    )
    run.states.append(model_after or applied.model)


def _merge(run: _Run) -> None:
    """Store equal initializers once; the model of the user is not touched."""
    if run.model is run.judge.original:
        return
    merged = run.model.clone()
    if merge_equal(merged):
        run.model = merged
