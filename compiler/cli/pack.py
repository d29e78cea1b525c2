"""`onnx-compress pack IN.onnx -o OUT.ocz`: a model as an entropy-coded file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from onnx_compress.compiler.cli.file_argument import A_FILE
from onnx_compress.compiler.errors import OutputError, UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="IN.onnx", type=A_FILE)
@click.option("-o", "--output", "out", required=True, type=A_FILE, metavar="OUT.ocz", help="The packed file to write.")
@click.option("--plain", is_flag=True, help="Decode weights first: smaller, and 'unpack' restores the plain model.")
@click.option("--force", is_flag=True, help="Overwrite OUT.ocz.")
def pack(*, model: Path, out: Path, plain: bool, force: bool) -> None:
    """Pack IN.onnx and its external data into one entropy-coded file.

    Zeros, repeated values and few distinct values make it small: prune, cluster or quantize first. 'unpack' restores
    the same bytes; all commands that read a model also read a packed one. For a model that 'encode' made small, --plain
    gives a smaller file; '-o OUT.ocz' when compressing implies it.
    """
    from onnx_compress.compiler.ir.files import ocz_file
    from onnx_compress.compiler.ir.model import Model
    from onnx_compress.compiler.report import quantities

    if os.path.exists(out) and os.path.exists(model) and out.samefile(model):  # Path.exists raises for long names
        raise OutputError(f"{out} is the input: choose another name")
    if out.suffix.lower() == ".onnx":
        raise UsageError(f"-o {out}: a packed file is not an ONNX file; name it {out.with_suffix(ocz_file.SUFFIX)}")
    loaded = Model.load(model)  # reports what is wrong with a file that is not a model
    sizes = ocz_file.save(loaded.plain().save, out, force=force) if plain else ocz_file.pack(model, out, force=force)
    before = loaded.file_bytes() if plain else sizes.original
    click.echo(
        f"{model.name} → {out.name}: {quantities.size(before)} → {quantities.size(sizes.total)}, "
        f"{before / sizes.total:.4g} times smaller"
    )
