"""`onnx-compress inspect MODEL`: what a model is made of and where its bytes and multiplications go."""

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
@click.option("--groups", is_flag=True, help="Channel groups: what can be pruned together, and why something can't.")
@click.option("--weights", is_flag=True, help="How each weight is stored, and the entropy of its values.")
@click.option("--data", metavar="DATA", help="One sample of these gives dimensions that vary their sizes.")
@click.option("--packed", is_flag=True, help="Also say how small 'pack' would make it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(*, path: Path, groups: bool, weights: bool, data: str | None, packed: bool, as_json: bool) -> None:
    """Show inputs, outputs, opset, metadata, and the parameters, bytes and MACs of each layer of MODEL.

    MACs are for batch 1. Where inputs have other dimensions that vary, the sizes are those of a sample of
    --data, or of inputs made up on which the model runs.
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
    """The shapes of one sample; none where the model does not run on made-up inputs, which is no reason to fail."""
    from onnx_compress.compiler.cli.samples import samples

    try:
        return {name: array.shape for name, array in next(samples(model, data, count=1).batches(1)).items()}
    except UserError:
        if data is not None:
            raise
        return {}
