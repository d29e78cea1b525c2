"""`onnx-compress pack IN.onnx -o OUT.ocz`: a model as an entropy-coded file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from onnx_compress.compiler.errors import OutputError, UsageError

A_FILE = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="IN.onnx", type=A_FILE)
@click.option("-o", "--output", "out", required=True, type=A_FILE, metavar="OUT.ocz", help="The packed file to write.")
@click.option("--plain", is_flag=True, help="Decode weights first: smaller, and 'unpack' gives the plain model.")
@click.option("--force", is_flag=True, help="Overwrite OUT.ocz.")
def pack(*, model: Path, out: Path, plain: bool, force: bool) -> None:
    """Pack IN.onnx, with its external data, into one file that is as small as entropy coding makes it.

    Zeros, repeated values and few distinct values are what makes it small: prune, cluster or quantize first. 'unpack'
    gives back the same bytes; everything that reads a model here reads a packed one too. A model that 'encode' has
    made small packs smaller by --plain. '-o OUT.ocz' of the main job does that by itself.
    """
    from onnx_compress.compiler.ir.files import ocz_file
    from onnx_compress.compiler.ir.model import Model
    from onnx_compress.compiler.report import quantities

    if os.path.exists(out) and os.path.exists(model) and out.samefile(model):  # Path.exists raises for long names
        raise OutputError(f"{out} is the input: choose another name")
    if out.suffix.lower() == ".onnx":
        raise UsageError(
            f"-o {out}: a packed file is no ONNX file; give it the name {out.with_suffix(ocz_file.SUFFIX)}"
        )
    loaded = Model.load(model)  # says what is wrong with a file that is no model
    sizes = ocz_file.save(loaded.plain().save, out, force=force) if plain else ocz_file.pack(model, out, force=force)
    before = loaded.file_bytes() if plain else sizes.original
    click.echo(
        f"{model.name} → {out.name}: {quantities.size(before)} → {quantities.size(sizes.total)}, "
        f"{before / sizes.total:.4g} times smaller"
    )
