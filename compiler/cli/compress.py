"""`onnx-compress IN -p SPEC -o OUT`: the main command."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnx_compress.compiler.cli import settings_options
from onnx_compress.compiler.cli.file_argument import A_FILE
from onnx_compress.compiler.errors import ModelError, OutputError, UsageError
from onnx_compress.compiler.pipeline.settings import Settings

if TYPE_CHECKING:
    from onnx_compress.compiler.ir.model import Model
    from onnx_compress.compiler.pipeline.api import Result
    from onnx_compress.compiler.pipeline.recipe import Recipe
    from onnx_compress.compiler.pipeline.run_report import Report
    from onnx_compress.compiler.runtime.data.dataset import Dataset

REPORTS = (".json", ".html")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="IN", type=A_FILE)
@click.option("-p", "--passes", "spec", metavar="SPEC", help="Passes with options: prune:ratio=0.3,quantize.")
@click.option("--recipe", type=A_FILE, metavar="FILE", help="A pipeline in TOML, with options per layer.")
@click.option("-o", "--output", "out", type=A_FILE, metavar="OUT", help="The result; packed if it ends in .ocz.")
@click.option("--data", metavar="DATA", help="Samples: .npz, .npy, a folder or zip of pictures, or module:function.")
@click.option("--eval", "eval_data", metavar="DATA", help="Samples to measure on [default: a quarter of --data].")
@settings_options.settings_options
@click.option("--report", "reports", multiple=True, type=A_FILE, metavar="FILE", help=".json or .html; repeatable.")
@click.option("--dry-run", is_flag=True, help="Check everything, show the plan, and stop.")
@click.option("--force", is_flag=True, help="Overwrite OUT, even if it is the input.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print everything: options, notes, each place left alone.")
def compress(
    *,
    model: Path,
    spec: str | None,
    recipe: Path | None,
    out: Path | None,
    data: str | None,
    eval_data: str | None,
    reports: tuple[Path, ...],
    dry_run: bool,
    force: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Compress IN with the passes of SPEC, write OUT and print the report.

    'onnx-compress passes' lists the passes. Exit status 3: OUT is written, but a pass was rolled back because it
    exceeded the budget, or a target was missed.
    """
    _check_input(model)
    pipeline = _pipeline(spec, recipe)
    said = settings_options.given(given)
    settings = Settings.of(pipeline.settings, said)
    _check_outputs(model, out, reports, is_needed=not dry_run, force=force)

    from onnx_compress.compiler.cli import plan
    from onnx_compress.compiler.ir.model import Model

    loaded = Model.load(model)
    plan.check(loaded, pipeline, settings)
    if dry_run:
        plan.show(loaded, pipeline, settings, (data, eval_data))
        return 0
    assert out is not None
    result, held_out = _compressed(loaded, pipeline, said, (data, eval_data), quiet=quiet)
    written = result.model.save(out, force=force)
    report = _named(result.report, model, out, written)
    _write_reports(report, loaded, result.model, held_out, reports)
    if not quiet:
        _show(report, verbose=verbose)
    return report.exit_status


def _check_input(model: Path) -> None:
    """Fail early if there is no such file; it may be a misspelt command."""
    from onnx_compress.compiler.cli.main import COMMANDS

    if model.exists():
        return
    near = difflib.get_close_matches(str(model), COMMANDS, n=1)
    hint = f"; did you mean the command '{near[0]}'?" if near else ""
    raise ModelError(f"{model}: there is no such file{hint}")


def _pipeline(spec: str | None, path: Path | None) -> Recipe:
    from onnx_compress.compiler.pipeline import recipe

    if (spec is None) == (path is None):
        raise UsageError("give the passes with either -p SPEC or --recipe FILE; 'onnx-compress passes' lists them")
    if path is not None:
        return recipe.load(path)
    return recipe.Recipe(recipe.steps_of(spec or ""))


def _check_outputs(model: Path, out: Path | None, reports: Sequence[Path], *, is_needed: bool, force: bool) -> None:
    """Refuse, before any work is done, outputs that could not be written."""
    from onnx_compress.compiler.ir.files.save import check_writable

    if out is None and is_needed:
        raise UsageError("name the result with -o OUT.onnx, or show the plan with --dry-run")
    if out is not None:
        if os.path.exists(out) and out.samefile(model) and not force:  # Path.exists raises for too long a name
            raise OutputError(f"{out} is the input: choose another name, or overwrite it with --force")
        check_writable(out, force=force)
    for path in reports:
        if path.suffix.lower() not in REPORTS:
            raise UsageError(f"--report {path}: the name must end in {' or '.join(REPORTS)}")
        check_writable(path, force=True)
    written = [path.resolve() for path in (*reports, *([] if out is None else [out]))]
    if len(set(written)) < len(written) or model.resolve() in written[: len(reports)]:
        raise UsageError("the result and the reports need different names, none of them the input's")


def _compressed(
    model: Model, pipeline: Recipe, said: Mapping[str, Any], data: tuple[str | None, str | None], *, quiet: bool
) -> tuple[Result, Dataset]:
    """The result of the run, and the samples that it was measured on."""
    from rich.console import Console

    from onnx_compress.compiler.cli.progress import bars
    from onnx_compress.compiler.pipeline import api
    from onnx_compress.compiler.pipeline.datasets import datasets

    seed = Settings.of(pipeline.settings, said).seed
    calibration, held_out = datasets(model, *data, pipeline.pictures, seed)
    watched = None if quiet else bars(Console(stderr=True))
    result = api.compress(model, pipeline, data=calibration, eval_data=held_out, settings=said, bars=watched)
    return result, held_out


def _named(report: Report, model: Path, out: Path, written: int) -> Report:
    """The report with the files' names, and with the size in bytes of what was written."""
    from onnx_compress.compiler.ir.files.ocz_file import is_packed

    packed = written if is_packed(out) else report.output.packed_bytes
    return replace(
        report, source=str(model), target=str(out), output=replace(report.output, bytes=written, packed_bytes=packed)
    )


def _write_reports(report: Report, before: Model, after: Model, held_out: Dataset, paths: Sequence[Path]) -> None:
    from onnx_compress.compiler.ir.files.save import replacing
    from onnx_compress.compiler.report.document import to_json

    for path in paths:
        is_page = path.suffix.lower() == ".html"
        text = _page(report, before, after, held_out) if is_page else to_json(report)
        with replacing(path) as file:
            file.write(text.encode())


def _page(report: Report, before: Model, after: Model, held_out: Dataset) -> str:
    """The report as a page, with the layers of both models at the sizes of one sample."""
    from onnx_compress.compiler.analysis.cost import Cost
    from onnx_compress.compiler.report.html import to_html

    sizes = {name: array.shape for name, array in next(held_out.batches(1)).items()}
    return to_html(report, Cost.of(before, sizes), Cost.of(after, sizes))


def _show(report: Report, *, verbose: bool) -> None:
    from rich.console import Console

    from onnx_compress.compiler.report import terminal

    terminal.show(report, Console(highlight=False), verbose=verbose)
