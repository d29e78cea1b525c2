"""Comparing a zoo run with the baselines: regressions, improvements and new results.

Tolerances, with reasons:

- `bytes` and `macs` may rise by 2 %: both are counted, not timed, and vary only if a pass decides by measured latency
  or a library changes its names.
- `error` (1 − cosine) may rise by half, plus 1e-7: it is measured on fixed inputs, but kernels differ between CPUs.
  Models with random weights are not judged by it.
- A pass that was kept must be kept, and a model that ran must run: no tolerance.
- `latency` is judged only on the CPU of the baselines, and only as the geometric mean over all models of a pipeline,
  which may rise by 10 %: a single short model varies more than that.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_compress.compiler.zoo.trial import OK, Trial

SIZE_RISE = 1.02
ERROR_RISE = 1.5
ERROR_FLOOR = 1e-7
LATENCY_RISE = 1.10


@dataclass(frozen=True)
class Finding:
    """One difference from the baselines; only a regression fails the check."""

    model: str
    pipeline: str
    what: str
    is_regression: bool = True


def compare(
    trials: Sequence[Trial],
    baselines: Iterable[Trial],
    *,
    unjudged: Collection[str] = (),
    same_machine: bool = False,
) -> list[Finding]:
    """Every difference of a run from the baselines, in the order of the run.

    `unjudged` are models whose numerics are meaningless. Baselines of models that were not run are ignored; a trial
    without a baseline is a regression, because nothing would check it.
    """
    known = {baseline.key: baseline for baseline in baselines}
    findings: list[Finding] = []
    for trial in trials:
        baseline = known.get(trial.key)
        if baseline is None:
            findings.append(Finding(*trial.key, "has no baseline; add it with --update"))
        else:
            findings += _compare_one(trial, baseline, judge_error=trial.model not in unjudged)
    return findings + (_slower_pipelines(trials, known) if same_machine else [])


def _compare_one(new: Trial, old: Trial, *, judge_error: bool) -> list[Finding]:
    if new.status != OK:
        known = " (as in the baselines)" if old.status == new.status else ""
        return [Finding(*new.key, f"{new.status}{known}: {'; '.join(new.problems)}", old.status == OK)]
    if old.status != OK:
        return [Finding(*new.key, f"runs now, was {old.status}", is_regression=False)]
    lost = [name for name in old.kept if name not in new.kept]
    found = [Finding(*new.key, f"{name} is no longer kept") for name in lost]
    found += _change(new, "bytes", new.bytes, old.bytes, SIZE_RISE)
    found += _change(new, "MACs", new.macs, old.macs, SIZE_RISE)
    if judge_error:
        found += _change(new, "error", new.error, old.error, ERROR_RISE, ERROR_FLOOR)
    return found


def _change(
    trial: Trial, what: str, new: float | None, old: float | None, rise: float, floor: float = 0.0
) -> list[Finding]:
    if old is None:
        return []
    if new is None:
        return [Finding(*trial.key, f"{what} can no longer be measured, was {old:.4g}")]
    if new > old * rise + floor:
        return [Finding(*trial.key, f"{what} {new:.4g}, was {old:.4g}")]
    if new * rise + floor < old:
        return [Finding(*trial.key, f"{what} {new:.4g}, was {old:.4g}", is_regression=False)]
    return []


def _slower_pipelines(trials: Sequence[Trial], known: Mapping[tuple[str, str], Trial]) -> list[Finding]:
    found: list[Finding] = []
    for pipeline in dict.fromkeys(trial.pipeline for trial in trials):
        pairs = [
            (new.latency, known[new.key].latency) for new in trials if new.pipeline == pipeline and new.key in known
        ]
        ratios = [new / old for new, old in pairs if new and old]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else 1.0
        if mean > LATENCY_RISE:
            found.append(Finding("all models", pipeline, f"latency is {mean:.2f} times that of the baselines"))
    return found


def updated(baselines: Iterable[Trial], trials: Iterable[Trial], order: Sequence[str]) -> list[Trial]:
    """The baselines updated with the trials, without models that are not in `order`."""
    merged = {trial.key: trial.after(0) for trial in (*baselines, *trials) if trial.model in order}
    return sorted(merged.values(), key=lambda trial: order.index(trial.model))


def machine() -> str:
    """The CPU's name: latencies are comparable only on the same one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
