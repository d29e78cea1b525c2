"""`onnx-compress inspect MODEL`: the layers of a model, with their bytes and multiplications."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_compress.compiler.errors import UserError

if TYPE_CHECKING:
    from onnx_compress.compiler.ir.model import Model


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--groups", is_flag=True, help="Show channel groups: what is pruned together, and why a group can't be.")
@click.option("--weights", is_flag=True, help="Show how each weight is stored, and the entropy of its values.")
@click.option("--data", metavar="DATA", help="Take the sizes of free dimensions from a sample of DATA.")
@click.option("--packed", is_flag=True, help="Also show the size that 'pack' would give.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(*, path: Path, groups: bool, weights: bool, data: str | None, packed: bool, as_json: bool) -> None:
    """Show inputs, outputs, opset, metadata, and the parameters, bytes and MACs of each layer of MODEL.

    MACs are for batch 1. Other free dimensions of inputs get the sizes of a sample of --data, or of synthetic inputs
    on which the model runs.
    """
    from rich.console import Console

    from onnx_compress.compiler.analysis.channels import ChannelGroups
    from onnx_compress.compiler.analysis.cost import Cost
    from onnx_compress.compiler.analysis.storage_report import stored_forms
    from onnx_compress.compiler.ir.files.ocz_file import packed_bytes
    from onnx_compress.compiler.ir.model import Model
    from onnx_compress.compiler.report.anatomy import document, show
    from onnx_compress.compiler.report.plain import written

    model = Model.load(path)
    sizes = _sizes(model, data)
    cost = Cost.of(model, sizes)
    found = ChannelGroups.of(model) if groups else None
    stored = stored_forms(model) if weights else None
    size = packed_bytes(path) if packed else None
    if as_json:
        content = document(model, cost, sizes, groups=found, weights=stored, packed=size)
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    written(console, lambda: show(model, cost, sizes, console, groups=found, weights=stored, packed=size))


def _sizes(model: Model, data: str | None) -> Mapping[str, Sequence[int]]:
    """The shapes of one sample; empty if the model does not run on synthetic inputs, which is not an error here."""
    from onnx_compress.compiler.cli.samples import samples

    try:
        return {name: array.shape for name, array in next(samples(model, data, count=1).batches(1)).items()}
    except UserError:
        if data is not None:
            raise
        return {}
