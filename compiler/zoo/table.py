"""A zoo run as a terminal table."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from onnx_compress.compiler.zoo.check import Finding
from onnx_compress.compiler.zoo.trial import OK, Trial


def trial_table(trials: Iterable[Trial]) -> Table:
    """One row per model and pipeline; sizes, MACs and latency as multiples of the original's."""
    table = Table(title="zoo", title_justify="left")
    for column in ("model", "pipeline"):
        table.add_column(column, no_wrap=True)
    for column in ("bytes", "MACs", "latency", "1 − cosine", "s"):
        table.add_column(column, justify="right")
    table.add_column("passes")
    model = ""
    for trial in trials:
        table.add_row(*_cells(trial, repeated=trial.model == model), style="" if trial.status == OK else "red")
        model = trial.model
    return table


def finding_table(findings: Iterable[Finding]) -> Table:
    """One row per difference to the baselines, regressions in red."""
    table = Table("model", "pipeline", "against the baselines", title_justify="left")
    for finding in findings:
        table.add_row(finding.model, finding.pipeline, finding.what, style="red" if finding.is_regression else "green")
    return table


def _cells(trial: Trial, *, repeated: bool) -> list[str]:
    passes = [*trial.kept, *(f"({name} rolled back)" for name in trial.rolled_back)]
    return [
        "" if repeated else trial.model,
        trial.pipeline,
        *(_ratio(value) for value in (trial.bytes, trial.macs, trial.latency)),
        "" if trial.error is None else f"{trial.error:.1e}",
        f"{trial.seconds:.0f}",
        ", ".join(passes) if trial.status == OK else f"{trial.status}: {'; '.join(trial.problems)}",
    ]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
