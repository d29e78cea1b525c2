"""`onnx-compress bench A [B …]`: latencies side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_compress.compiler.cli.file_argument import A_FILE

if TYPE_CHECKING:
    from rich.table import Table

    from onnx_compress.compiler.runtime.timing.latency import Latency, Ratio

ROUNDS_PER_SECOND = 200
"""More rounds than any machine completes: the time limit decides."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", metavar="A [B ...]", nargs=-1, required=True, type=A_FILE)
@click.option("--data", metavar="DATA", help="Source of the inputs [default: synthetic].")
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", default=1, show_default=True, help="Threads of onnxruntime."
)
@click.option("--batch", type=click.IntRange(1), metavar="N", default=1, show_default=True, help="Samples per run.")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), metavar="N", default=5.0, show_default=True, help="For all models."
)
@click.option("--seed", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="For synthetic inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(
    *,
    models: tuple[Path, ...],
    data: str | None,
    threads: int,
    batch: int,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """Time models on the same inputs, in turns, so that other load affects all of them alike.

    The table shows medians with their interquartile range, and the time of each model relative to that of A, taken
    round by round.
    """
    from rich.console import Console

    from onnx_compress.compiler.cli.samples import loaded, same_inputs, samples
    from onnx_compress.compiler.report.plain import written
    from onnx_compress.compiler.runtime.session import create
    from onnx_compress.compiler.runtime.timing.latency import interleaved, ratio

    known = loaded(models)
    same_inputs(known)
    run = next(samples(next(iter(known.values())), data, seed=seed, count=batch).runs(batch))
    sessions = {name: create(model, threads=threads) for name, model in known.items()}
    found = interleaved(sessions, run.feeds, rounds=int(seconds * ROUNDS_PER_SECOND), budget_seconds=seconds)
    reference = next(iter(found.values()))
    ratios = {name: ratio(latency, reference) for name, latency in found.items()}
    if as_json:
        click.echo(json.dumps(_document(found, ratios, threads, run.count), indent=2))
        return
    console = Console(highlight=False)
    written(console, lambda: console.print(_table(found, ratios)))
    rounds = len(reference.rounds_ms)
    console.print(f"\n{threads} thread{'s' * (threads > 1)}, batch {run.count}, {rounds} rounds in turns.")


def _table(found: Mapping[str, Latency], ratios: Mapping[str, Ratio]) -> Table:
    from onnx_compress.compiler.report import quantities
    from onnx_compress.compiler.report.plain import table

    grid = table()
    grid.add_column("model", overflow="fold")
    for heading in ("median", "spread", "least", "against the first"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for name, latency in found.items():
        grid.add_row(
            name,
            quantities.milliseconds(latency.median_ms),
            f"{100 * latency.spread:.0f} %",
            quantities.milliseconds(latency.min_ms),
            f"{ratios[name].median:.2f}× ± {ratios[name].median * ratios[name].spread / 2:.2f}",
        )
    return grid


def _document(found: Mapping[str, Latency], ratios: Mapping[str, Ratio], threads: int, batch: int) -> dict[str, object]:
    rows = [
        {
            "model": name,
            "median_ms": latency.median_ms,
            "spread": latency.spread,
            "min_ms": latency.min_ms,
            "runs": latency.runs,
            "ratio": ratios[name].median,
            "ratio_spread": ratios[name].spread,
        }
        for name, latency in found.items()
    ]
    return {"threads": threads, "batch": batch, "models": rows}
