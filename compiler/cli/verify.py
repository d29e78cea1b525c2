"""`onnx-compress verify A B`: compare the outputs of B with those of A."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_compress.compiler.cli.file_argument import A_FILE
from onnx_compress.compiler.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from onnx_compress.compiler.runtime.metrics.numerics import Numerics

OUTSIDE = 3
MOST_SAMPLES = 256


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("a", metavar="A", type=A_FILE)
@click.argument("b", metavar="B", type=A_FILE)
@click.option("--data", metavar="DATA", help="Samples to run on [default: synthetic].")
@click.option(
    "--tolerance",
    type=float,
    metavar="N",
    default=1e-5,
    show_default=True,
    help="Allowed difference of an output, as a share of its largest value.",
)
@click.option(
    "--seed", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="For synthetic samples."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(*, a: Path, b: Path, data: str | None, tolerance: float, seed: int, as_json: bool) -> int:
    """Run A and B on the same inputs and compare each output of B with that of A.

    At most 256 samples are used. The exit status is 3 if an output differs by more than the tolerance. The default
    allows for another order of summation: within it, the models compute the same. A quantized model needs more, such
    as 0.05.
    """
    from rich.console import Console

    from onnx_compress.compiler.cli.samples import loaded, same_inputs, samples
    from onnx_compress.compiler.report.plain import written
    from onnx_compress.compiler.runtime.metrics.numerics import numerics
    from onnx_compress.compiler.runtime.session import create

    if not 0 <= tolerance < math.inf:
        raise UsageError(f"--tolerance must be at least 0 and finite, not {tolerance}")
    models = loaded((a, b))
    same_inputs(models)
    first, second = models.values()
    given = samples(first, data, seed=seed)
    dataset = given.take(MOST_SAMPLES)
    results = numerics(create(first), create(second), dataset)
    inside = all(result.within(tolerance) for result in results.values())
    if as_json:
        click.echo(json.dumps(_document(results, tolerance, len(dataset), dataset.real), indent=2))
        return 0 if inside else OUTSIDE
    console = Console(highlight=False)
    written(console, lambda: console.print(_table(results, tolerance)))
    origin = "samples" if dataset.real else "synthetic samples"
    count = f"{len(dataset)}" if len(dataset) == len(given) else f"{len(dataset)} of {len(given)}"
    said = f"all outputs agree within {tolerance:g}" if inside else f"some outputs differ by more than {tolerance:g}"
    console.print(f"\n{count} {origin}: {said} of their scale.")
    return 0 if inside else OUTSIDE


def _table(results: Mapping[str, Numerics], tolerance: float) -> Table:
    from rich.text import Text

    from onnx_compress.compiler.report.plain import table

    grid = table()
    grid.add_column("output", overflow="fold")
    for heading in ("max |Δ|", "scale", "cosine", "SQNR"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("")
    for name, result in results.items():
        verdict = Text("ok", style="green") if result.within(tolerance) else Text("OUTSIDE", style="red bold")
        if result.problem is not None or result.mismatched or result.nonfinite:
            verdict.append(f" {result}")
            grid.add_row(name, "", "", "", "", verdict)
            continue
        sqnr = "exact" if math.isinf(result.sqnr_db) else f"{result.sqnr_db:.1f} dB"
        grid.add_row(name, f"{result.max_abs:.3g}", f"{result.scale:.3g}", f"{result.cosine:.6f}", sqnr, verdict)
    return grid


def _document(results: Mapping[str, Numerics], tolerance: float, count: int, real: bool) -> dict[str, object]:
    from onnx_compress.compiler.report.document import numerics_of

    outputs = {name: {**numerics_of(result), "within": result.within(tolerance)} for name, result in results.items()}
    return {"tolerance": tolerance, "samples": count, "real_data": real, "outputs": outputs}
