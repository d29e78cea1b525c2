"""The Python interface: `compress`, `load`, `session` and the `Result` of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline import manager
from onnx_compress.compiler.pipeline.datasets import datasets
from onnx_compress.compiler.pipeline.execute import Bars
from onnx_compress.compiler.pipeline.recipe import Recipe, steps_of
from onnx_compress.compiler.pipeline.run_report import Report
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.runtime.data.dataset import DataLike
from onnx_compress.compiler.runtime.session import Session, create

ModelLike: TypeAlias = Model | str | Path


@dataclass(frozen=True)
class Result:
    """A compressed model and the report of the run."""

    model: Model
    report: Report

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the model to `path`, completely or not at all; an existing file is kept unless `force`."""
        self.model.save(path, force=force)


def load(path: str | Path) -> Model:
    """Load an ONNX model, packed or not; its weights stay in the file until needed. Raises ModelError."""
    return Model.load(path)


def session(model: ModelLike, *, threads: int = 1) -> Session:
    """An onnxruntime session for a model or a file. Raises ModelError if it does not load."""
    return create(model, threads=threads)


def compress(
    model: ModelLike,
    pipeline: str | Recipe,
    *,
    data: DataLike | None = None,
    eval_data: DataLike | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    bars: Bars | None = None,
) -> Result:
    """Compress a model.

    Args:
        model: a Model or the path of a file; it stays unchanged.
        pipeline: passes as on the command line (`"prune:ratio=0.3,quantize"`), or a Recipe.
        data: calibration samples: a path as for `--data`, a mapping of input names (and `labels`) to
            arrays, or a Dataset. None: seeded synthetic inputs.
        eval_data: samples on which the result is judged. None: a fixed quarter of `data`.
        settings: budget, metric, seed, threads and so on: a mapping, which overrides the recipe's settings, or
            Settings, of which those that differ from their defaults do. See `Settings`.
        bars: shows progress; see `Context.progress`.

    Raises UserError for errors that the caller can fix, and PassError if a pass fails.
    """
    loaded = model if isinstance(model, Model) else Model.load(model)
    if not isinstance(loaded, Model):
        raise ModelError(f"a model is a path or a Model, not {type(model).__name__}")
    recipe = pipeline if isinstance(pipeline, Recipe) else Recipe(steps_of(pipeline))
    given = settings.given() if isinstance(settings, Settings) else settings or {}
    merged = Settings.of(recipe.settings, Settings.table(given, "settings"))
    calibration, held_out = datasets(loaded, data, eval_data, recipe.pictures, merged.seed)
    outcome = manager.compress(loaded, recipe.steps, data=calibration, held_out=held_out, settings=merged, bars=bars)
    return Result(outcome.model, outcome.report)
