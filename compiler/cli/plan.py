"""The plan of a run: checked before the work begins, printed by `--dry-run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.recipe import Recipe, Step, check_globs
from onnx_compress.compiler.pipeline.spec import render_one
from onnx_compress.compiler.pipeline.stages import Stages

if TYPE_CHECKING:
    from onnx_compress.compiler.pipeline.settings import Settings

FEW = 8
"""Most matching layers shown per glob."""


def check(model: Model, pipeline: Recipe, settings: Settings) -> None:
    """Raise UsageError for a glob that matches no layer."""
    check_globs([*settings.exclude, *(rule.match for step in pipeline.steps for rule in step.layers)], model)


def show(model: Model, pipeline: Recipe, settings: Settings, data: tuple[str | None, str | None]) -> None:
    """Print the passes in order of execution, the layers that each glob matches, the budget and the samples."""
    console = Console(highlight=False)
    said = _samples(model, pipeline, settings, data)
    for number, step in enumerate(Stages.of(pipeline.steps, settings).whole, 1):
        console.print(Text(f"{number}. {render_one(step.item)}", style="bold").append(_remark(step), style="not bold"))
        for rule in step.layers:
            options = ", ".join(f"{name}={value}" for name, value in rule.options.items())
            console.print(Text(f"   {options} for {_matches(model, rule.match)}"))
    for glob in settings.exclude:
        console.print(Text(f"left alone: {_matches(model, glob)}"))
    unit = "point" if settings.budget == 1 else "points"
    console.print(Text(f"budget: {settings.budget:g} {unit} of {settings.metric or 'the default metric'}"))
    console.print(Text(said))


def _remark(step: Step) -> str:
    remark = f"  {step.item.effect.value}"
    return f"{remark}, {step.item.strength} as far as the budget allows" if step.item.is_open() else remark


def _matches(model: Model, glob: str) -> str:
    layers = check_globs([glob], model)[glob]
    more = f" and {len(layers) - FEW} more" if len(layers) > FEW else ""
    return f"'{glob}' ({len(layers)}): {', '.join(layers[:FEW])}{more}"


def _samples(model: Model, pipeline: Recipe, settings: Settings, data: tuple[str | None, str | None]) -> str:
    from onnx_compress.compiler.pipeline.datasets import datasets

    if data == (None, None):
        return "samples: synthetic, so accuracy is not measured; give --data"
    calibration, held_out = datasets(model, *data, pipeline.pictures, settings.seed)
    return f"samples: {len(calibration)} to calibrate with, {len(held_out)} to measure on"
