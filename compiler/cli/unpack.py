"""`onnx-compress unpack IN.ocz -o OUT.onnx`: restore the packed model, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

import click

from onnx_compress.compiler.cli.file_argument import A_FILE
from onnx_compress.compiler.errors import ModelError, OutputError, UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="IN.ocz", type=A_FILE)
@click.option("-o", "--output", "out", required=True, type=A_FILE, metavar="OUT.onnx", help="The model file to write.")
@click.option("--force", is_flag=True, help="Overwrite OUT.onnx and its data files.")
def unpack(*, path: Path, out: Path, force: bool) -> None:
    """Restore the model file that was packed into IN.ocz, and its external data files, if any, next to it."""
    from onnx_compress.compiler.ir.files import ocz_file
    from onnx_compress.compiler.report import quantities

    if os.path.exists(out) and os.path.exists(path) and out.samefile(path):  # Path.exists raises for long names
        raise OutputError(f"{out} is the input: choose another name")
    if out.suffix.lower() == ocz_file.SUFFIX:
        raise UsageError(f"-o {out}: the unpacked file is an ONNX file; name it {out.with_suffix('.onnx')}")
    try:
        for written in ocz_file.unpack(path, out, force=force):
            click.echo(f"{written}: {quantities.size(written.stat().st_size)}")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
