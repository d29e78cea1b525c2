"""`onnx-compress zoo fetch|run|check`: the model zoo and its regression check."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline.run_report import EXIT_DONE, EXIT_MISSED
from onnx_compress.compiler.zoo import check as checking
from onnx_compress.compiler.zoo import fetch as fetching
from onnx_compress.compiler.zoo import run as running
from onnx_compress.compiler.zoo.manifest import DEFAULT_PATH, ZooEntry, load_manifest, select
from onnx_compress.compiler.zoo.table import finding_table, remarks, trial_table
from onnx_compress.compiler.zoo.trial import OK, PIPELINES, Trial, read_trials, write_trials

BASELINES = DEFAULT_PATH.with_name("zoo_baselines.json")
A_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True)
class Zoo:
    """The models of the zoo that a command works on."""

    entries: tuple[ZooEntry, ...]
    cache: Path
    order: tuple[str, ...]
    """The names of all models in the zoo, in the order of the manifest."""


def _of_zoo(command: Callable[..., int]) -> Callable[..., int]:
    """Add the arguments that choose models to a command; it receives them as one Zoo."""

    @functools.wraps(command)
    def wrapped(*, models: tuple[str, ...], short: bool, manifest: Path, cache: Path, **others: Any) -> int:
        entries = load_manifest(manifest)
        chosen = select([entry for entry in entries if entry.short or not short], models)
        return command(Zoo(chosen, cache, tuple(entry.name for entry in entries)), **others)

    options = (
        click.argument("models", nargs=-1),
        click.option("--short", is_flag=True, help="Only the models that need no network."),
        click.option(
            "--manifest", type=A_FILE, default=DEFAULT_PATH, show_default="models/zoo.toml", help="The list of models."
        ),
        click.option(
            "--cache",
            type=click.Path(path_type=Path, file_okay=False),
            default=fetching.default_cache,
            show_default="onnx-compress/zoo in the user's cache folder",
            help="Folder of downloaded models.",
        ),
    )
    return functools.reduce(lambda given, option: option(given), reversed(options), wrapped)


def _of_run(command: Callable[..., int]) -> Callable[..., int]:
    options = (
        click.option(
            "-p", "--pipeline", "pipelines", multiple=True, help="A pipeline to run; repeatable [default: all]."
        ),
        click.option(
            "--seconds", type=float, default=running.SECONDS, show_default=True, help="Limit for one pipeline."
        ),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Models that run at once; with several, no latency is recorded.",
        ),
    )
    return functools.reduce(lambda given, option: option(given), reversed(options), command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def zoo() -> None:
    """Run the compiler on real models and compare with the recorded baselines.

    MODELS are globs of the names in models/zoo.toml; none means all.
    """


@zoo.command()
@_of_zoo
def fetch(chosen: Zoo) -> int:
    """Download the models into the cache; models already there are not downloaded again."""
    for fetched in fetching.fetch(chosen.entries, chosen.cache, lambda line: click.echo(line, err=True)):
        click.echo(fetched.path)
    return EXIT_DONE


@zoo.command()
@_of_zoo
@_of_run
@click.option("--json", "results", type=A_FILE, help="Also write the results to a file.")
def run(chosen: Zoo, pipelines: tuple[str, ...], seconds: float, jobs: int, results: Path | None) -> int:
    """Run pipelines on models and show the results."""
    trials = _run(chosen, pipelines or PIPELINES, seconds, jobs)
    if results is not None:
        write_trials(results, trials, {"machine": checking.machine()})
    return EXIT_DONE if all(trial.status == OK for trial in trials) else EXIT_MISSED


@zoo.command()
@_of_zoo
@_of_run
@click.option(
    "--baselines",
    type=A_FILE,
    default=BASELINES,
    show_default="models/zoo_baselines.json",
    help="The baselines to compare with.",
)
@click.option("--update", is_flag=True, help="Make the results the new baselines of the models that were run.")
@click.option("--results", type=A_FILE, help="Compare the results of an earlier run instead of running the zoo.")
def check(
    chosen: Zoo,
    pipelines: tuple[str, ...],
    seconds: float,
    jobs: int,
    baselines: Path,
    update: bool,
    results: Path | None,
) -> int:
    """Run the zoo and compare with the baselines; exit status 3 on a regression."""
    if update and jobs > 1:
        raise UsageError("--update records latencies, which --jobs leaves out: run one model at a time")
    known, notes = read_trials(baselines) if baselines.is_file() or not update else ([], {})
    if results is None:
        trials, machine = _run(chosen, pipelines or PIPELINES, seconds, jobs), checking.machine()
    else:
        trials, noted = read_trials(results)
        machine = noted.get("machine", "")
    findings = checking.compare(
        trials,
        known,
        unjudged=[entry.name for entry in chosen.entries if entry.structure_only],
        same_machine=notes.get("machine") == machine,
    )
    if findings:
        Console().print(finding_table(findings))
    if update:
        merged = checking.updated(known, trials, chosen.order)
        is_mixed = len(merged) > len(trials) and notes.get("machine") != machine
        write_trials(baselines, merged, {"machine": "several" if is_mixed else machine})
        click.echo(f"{baselines}: {len(trials)} results are the new baselines")
        return EXIT_DONE
    if any(finding.is_regression for finding in findings):
        return EXIT_MISSED
    click.echo(f"no regression in {len(trials)} results")
    return EXIT_DONE


def _run(chosen: Zoo, pipelines: Sequence[str], seconds: float, jobs: int) -> list[Trial]:
    console, trials = Console(stderr=True), list[Trial]()
    limits = running.Limits(seconds=seconds)
    with console.status("starting") as status:
        for trial in running.run(chosen.entries, chosen.cache, pipelines=pipelines, limits=limits, jobs=jobs):
            trials.append(trial)
            done = f"{trial.model}: {trial.pipeline}: {trial.status}, {trial.seconds:.0f} s"
            status.update(f"{len(trials)} done, last {done}")
            if not console.is_terminal:  # in a log, where no status is shown
                click.echo(done, err=True)
    trials.sort(key=lambda trial: chosen.order.index(trial.model))
    Console().print(trial_table(trials))
    for line in remarks(trials):
        click.echo(line)
    return trials
