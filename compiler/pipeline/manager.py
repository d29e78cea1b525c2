"""The pass manager: runs a pipeline, judges every step, rolls back what exceeds the budget, records everything.

The order is: `simplify`; the given passes; equal initializers merged; `encode`. Lossy passes are judged at checkpoints
(see `stages.segments`). What exceeds the budget is rolled back to the previous checkpoint. A strength that the user
gave is kept and reported, unless the user set the budget too. From the first open strength on, the rest of the pipeline
is one stretch, which a search runs and judges as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from onnx_compress.compiler.errors import PassError
from onnx_compress.compiler.ir.files.merge import merge_equal
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline import checks, open_strengths
from onnx_compress.compiler.pipeline.base import Effect
from onnx_compress.compiler.pipeline.execute import Applied, Bars, Executor, Terms
from onnx_compress.compiler.pipeline.held_out import HeldOut
from onnx_compress.compiler.pipeline.open_strengths import Entry
from onnx_compress.compiler.pipeline.recipe import Step, check_globs
from onnx_compress.compiler.pipeline.run_report import PassReport, Report
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.pipeline.spec import render
from onnx_compress.compiler.pipeline.stages import Stages, segments
from onnx_compress.compiler.pipeline.summary import summarize
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.metrics.numerics import EXACT_TOLERANCE


@dataclass(frozen=True)
class Outcome:
    """The compressed model and the report of the run."""

    model: Model
    report: Report


@dataclass(frozen=True)
class _Done:
    """A step with its outcome; `fault` says why it can't stay, `note` is any other remark."""

    step: Step
    applied: Applied
    fault: str = ""
    note: str = ""
    is_served: bool = False
    """It changed nothing because another step did its work."""

    @classmethod
    def of(cls, entry: Entry) -> _Done:
        """A step of a stretch with open strengths."""
        said = (entry.reason, "") if entry.is_costly else ("", entry.reason)
        return cls(entry.step, entry.applied, *said, entry.is_served)


@dataclass
class _Run:
    """The state of one run: the model at the last checkpoint and the records so far.

    `judge` measures against the user's model, for the report. `answers_to` is the judge that passes answer to: a
    new one once a given strength has cost more than the budget, so that later passes answer only for their own
    cost.
    """

    executor: Executor
    judge: HeldOut
    answers_to: HeldOut
    settings: Settings
    last: Step | None
    model: Model
    records: list[PassReport] = field(default_factory=list)
    states: list[Model] = field(default_factory=list)
    """The model after each record, for timing all of them in one run."""

    @property
    def terms(self) -> Terms:
        """The terms of the next step."""
        return Terms(self.answers_to, before=tuple(record.name for record in self.records))


def compress(
    model: Model,
    steps: Sequence[Step],
    *,
    data: Dataset,
    held_out: Dataset,
    settings: Settings | None = None,
    bars: Bars | None = None,
) -> Outcome:
    """Run `steps` on `model`, which stays unchanged.

    `data` are the calibration samples, `held_out` those on which everything is judged. Raises UserError for an
    unsound model or a glob that matches nothing, PassError if a pass fails; the latter carries the last good model.
    """
    settings = settings or Settings()
    checks.check_input(model)
    check_globs([*settings.exclude, *(rule.match for step in steps for rule in step.layers)], model)
    judge = HeldOut.of(model, held_out, settings)
    stages = Stages.of(steps, settings)
    run = _Run(Executor(model, data, settings, bars), judge, judge, settings, stages.last, model)
    try:
        _run_all(run, stages)
    except PassError as error:
        error.last_good = run.model
        raise
    spec = render([step.item for step in steps])
    return Outcome(run.model, summarize(run.records, run.states, run.model, judge, settings, spec))


def _run_all(run: _Run, stages: Stages) -> None:
    if stages.first is not None:
        _run_exact(run, stages.first)
        run.executor.reference = run.model
    _run_steps(run, stages.steps)
    _merge(run)
    if stages.last is not None:
        _run_exact(run, stages.last)


def _run_steps(run: _Run, steps: Sequence[Step]) -> None:
    for place, segment in _placed(segments(steps)):
        if any(step.item.is_open() for step in segment):
            _search(run, steps[place:])
            return
        _run_segment(run, segment)


def _placed(cut: Sequence[Sequence[Step]]) -> list[tuple[int, Sequence[Step]]]:
    """Each segment with the index of its first step."""
    starts = [sum(map(len, cut[:i])) for i in range(len(cut))]
    return list(zip(starts, cut, strict=True))


def _run_exact(run: _Run, step: Step) -> None:
    applied = run.executor.recalled(run.model, step, run.terms)
    fault = _inexact(run, run.model, applied)
    _record(run, _Done(step, applied, fault))
    if not fault:
        run.model = applied.model


def _inexact(run: _Run, before: Model, applied: Applied) -> str:
    """Why the result of an exact pass can't stay, or an empty string."""
    fault = "" if applied.changed == 0 else run.judge.inexact(before, applied.model, EXACT_TOLERANCE)
    return fault or beyond_ceiling(applied.model, run.judge.original, run.settings)


def _run_segment(run: _Run, segment: Sequence[Step]) -> None:
    """Run one segment; keep it, or roll it back to the checkpoint before."""
    if len(segment) == 1 and segment[0].item.effect is Effect.EXACT:
        _run_exact(run, segment[0])
        return
    model = run.model
    done = []
    for step in segment:
        applied = run.executor.recalled(model, step, run.terms)
        fault = _inexact(run, model, applied) if step.item.effect is Effect.EXACT else ""
        done.append(_Done(step, applied, fault))
        model = model if fault else applied.model
    _settle(run, done, model)


def _search(run: _Run, steps: Sequence[Step]) -> None:
    """Run the stretch from the first open strength on, with strengths found by a search."""
    found = open_strengths.run(run.executor, run.answers_to, run.model, steps, run.last)
    if found.model is not None:
        _settle(run, [_Done.of(entry) for entry in found.entries], found.model)
        return
    left = {id(entry.step): _Done.of(entry) for entry in found.entries}
    for segment in segments(steps):
        for done in (left[id(step)] for step in segment if id(step) in left):
            _record(run, done)
        if fixed := [step for step in segment if id(step) not in left]:
            _run_segment(run, fixed)


def _settle(run: _Run, done: Sequence[_Done], model: Model) -> None:
    """Judge the outcome of a stretch of steps, record them, and make it the new checkpoint unless it is rolled back."""
    drop = run.answers_to.drop(model) if model is not run.model else 0.0
    fault = beyond_ceiling(model, run.judge.original, run.settings)
    is_given = run.settings.max_drop is None and any(one.step.item.is_given() for one in done)
    note = ""
    if drop > run.answers_to.max_drop:
        cost = f"it costs {drop:.2f} points of {run.judge.basis}, the budget is {run.settings.budget:g}"
        if is_given:
            note = f"{cost}; kept because its strength was given"
        else:
            fault = fault or cost
    for one in done:
        _record(run, replace(one, fault=one.fault or fault, note=one.note or note))
    if fault:
        return
    run.model = model
    if note:
        # What the user ordered is paid for: later passes answer for what they cost beyond it.
        run.answers_to = HeldOut.of(model, run.judge.data, run.settings, run.judge.table)


def beyond_ceiling(model: Model, original: Model, settings: Settings) -> str:
    """Why the user's limits forbid a model, or an empty string."""
    if settings.opset is not None and model.opset > max(settings.opset, original.opset):
        return f"its result needs opset {model.opset}, the ceiling is {settings.opset}"
    if settings.portable:
        known = {node.domain for node in original.nodes()}
        foreign = next((n for n in model.nodes() if not n.is_standard and n.domain not in known), None)
        if foreign is not None:
            return f"its result uses {foreign.label()} of the domain '{foreign.domain}', which is not portable"
    return ""


def _record(run: _Run, done: _Done) -> None:
    step, applied = done.step, done.applied
    record = PassReport(
        name=step.item.name,
        options=dict(step.item.values()),
        changed=applied.changed,
        kept=not done.fault,
        effect=step.item.effect.value,
        reason=done.fault or done.note,
        skips=applied.skips,
        notes=applied.notes,
        missed=applied.missed,
        seconds=applied.seconds,
    )
    idle = () if done.is_served else _idle(step, record)
    run.records.append(replace(record, missed=(*record.missed, *idle)))
    run.states.append(applied.model)


def _idle(step: Step, record: PassReport) -> tuple[str, ...]:
    """The remark on a lossy pass that the user requested and that found nothing to do."""
    if record.changed or not record.kept or record.missed or step.item.effect is Effect.EXACT or step.item.repairs:
        return ()
    reasons = Counter(skip.why for skip in record.skips).most_common(1)
    why = reasons[0][0] if reasons else record.reason
    return (f"it changed nothing{f': {why}' if why else ''}",)


def _merge(run: _Run) -> None:
    """Store equal initializers once; the user's model is not changed."""
    if run.model is run.judge.original:
        return
    merged = run.model.clone()
    if merge_equal(merged):
        run.model = merged
