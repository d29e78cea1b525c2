"""The result of one pipeline on one model, as plain data: the unit of `zoo run`, `zoo check` and the baselines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_compress.compiler.errors import OutputError, UsageError

IDENTITY = "load-save"
"""The pseudo-pipeline that loads and saves a model and compares every field."""

PIPELINES = (
    IDENTITY,
    "simplify",
    "prune:ratio=0.2:round=16",
    "quantize",
    "quantize-weights:matmul=folded",
    "convert-float16",
    "cluster:bits=4",
    "prune:ratio=0.2:round=16,quantize",
    "prune,quantize",
)
"""The pipelines that run on every model.

Where a pass would choose by measured time, the choice is given if the figures are to be the same on every CPU: the
channel block of pruning, the form of MatMul weights.
"""

OK, FAILED, TIMEOUT = "ok", "failed", "timeout"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One pipeline on one model.

    `status` is ok, failed or timeout, and `problems` says what is wrong: an error of the run, outputs that are not
    finite, a changed signature, a batch size at which the result does not run. `kept` are the passes that changed the
    model, `rolled_back` those that exceeded the budget. `bytes`, `macs` and `latency` are ratios of the result to the
    original (None: unknown); `error` is 1 − the least cosine over the float outputs, on inputs that the pipeline has
    not seen.
    """

    model: str
    pipeline: str
    status: str
    problems: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()
    bytes: float | None = None
    macs: float | None = None
    latency: float | None = None
    error: float | None = None
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """The identity of a trial: model and pipeline."""
        return self.model, self.pipeline

    def after(self, seconds: float) -> Trial:
        """The same trial with the time that it took."""
        return dataclasses.replace(self, seconds=round(seconds, 1))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without fields that have their default."""
        fields = dataclasses.fields(self)
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Trial:
        """The inverse of `to_json`. Raises UsageError for an invalid record."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
            return cls(**fields)
        except (TypeError, AttributeError):
            raise UsageError(f"not a trial of a zoo run: {json.dumps(record)[:80]}") from None


def write_trials(path: Path, trials: Iterable[Trial], notes: Mapping[str, str]) -> None:
    """Write results or baselines as JSON, one line per model and pipeline, to keep diffs short."""
    head = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in sorted(notes.items())]
    lines = [f"    {json.dumps(trial.to_json())}" for trial in trials]
    text = "\n".join(["{", *head, '  "trials": [', ",\n".join(lines), "  ]", "}", ""])
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror}") from None


def read_trials(path: Path) -> tuple[list[Trial], dict[str, str]]:
    """Read trials and notes written by `write_trials`. Raises a one-line UsageError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        records = document.pop("trials")
        return [Trial.from_json(record) for record in records], document
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file; make it with zoo check --update") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UsageError(f"{path}: not the trials of a zoo run") from None
