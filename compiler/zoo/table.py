"""A zoo run as a terminal table."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE
from rich.table import Table

from onnx_compress.compiler.zoo.check import Finding
from onnx_compress.compiler.zoo.trial import OK, Trial


def trial_table(trials: Iterable[Trial]) -> Table:
    """One row per model and pipeline; sizes, MACs and latency as multiples of the original's, error as 1 − cosine."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("model", "pipeline"):
        table.add_column(column, no_wrap=True)
    for column in ("bytes", "MACs", "latency", "error", "s"):
        table.add_column(column, justify="right", no_wrap=True)
    model = ""
    for trial in trials:
        table.add_row(*_cells(trial, repeated=trial.model == model), style="" if trial.status == OK else "red")
        model = trial.model
    return table


def remarks(trials: Iterable[Trial]) -> list[str]:
    """A line for each failed trial and each pass that was rolled back, for which the rows have no space."""
    lines = []
    for trial in trials:
        said = [f"{trial.status}: {'; '.join(trial.problems)}"] if trial.status != OK else []
        said += [f"{name} was rolled back" for name in trial.rolled_back]
        lines += [f"{trial.model}: {trial.pipeline}: {what}" for what in said]
    return lines


def finding_table(findings: Iterable[Finding]) -> Table:
    """One row per difference from the baselines, regressions in red."""
    table = Table("model", "pipeline", "difference from the baselines", box=SIMPLE, padding=(0, 1))
    for finding in findings:
        table.add_row(finding.model, finding.pipeline, finding.what, style="red" if finding.is_regression else "green")
    return table


def _cells(trial: Trial, *, repeated: bool) -> list[str]:
    return [
        "" if repeated else trial.model,
        trial.pipeline,
        *(_ratio(value) for value in (trial.bytes, trial.macs, trial.latency)),
        "" if trial.error is None else f"{trial.error:.1e}",
        f"{trial.seconds:.0f}",
    ]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
