"""`onnx-compress passes [NAME]`: the list of passes, and the reference of each."""

from __future__ import annotations

import click

from onnx_compress.compiler.errors import UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="Print the reference of all passes as Markdown.")
def passes(*, name: str | None, markdown: bool) -> None:
    """List the passes, or show the pass NAME in full: what it does, its options, the paper."""
    from rich.console import Console

    from onnx_compress.compiler.pipeline import registry
    from onnx_compress.compiler.report import reference
    from onnx_compress.compiler.report.plain import written

    if name is not None and markdown:
        raise UsageError("--markdown prints the reference of all passes: leave out the name")
    console = Console(highlight=False)
    if markdown:
        click.echo(reference.markdown(registry.all_passes(), registry.aliases()), nl=False)
    elif name is not None:
        kind = registry.find(name)
        written(console, lambda: reference.show(kind, console))
    else:
        written(console, lambda: reference.show_all(registry.all_passes(), registry.aliases(), console))
