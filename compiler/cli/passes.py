"""`onnx-compress passes [NAME]`: what passes there are, and what each one does."""

from __future__ import annotations

from pathlib import Path

import click

from onnx_compress.compiler.errors import UsageError

BEGIN, END = "<!-- passes -->", "<!-- /passes -->"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="Print the reference of all passes as Markdown.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Put the reference into FILE, between the lines {BEGIN} and {END}.",
)
def passes(*, name: str | None, markdown: bool, into: Path | None) -> None:
    """List the passes, or show the pass NAME in full: what it does, its options, the paper."""
    from rich.console import Console

    from onnx_compress.compiler.pipeline import registry
    from onnx_compress.compiler.report import reference
    from onnx_compress.compiler.report.plain import written

    if name is not None and (markdown or into is not None):
        raise UsageError("--markdown and --into write the reference of all passes: leave the name away")
    console = Console(highlight=False)
    if into is not None:
        into.write_text(updated(into.read_text(encoding="utf-8"), reference.markdown(registry.all_passes()), into))
    elif markdown:
        click.echo(reference.markdown(registry.all_passes()), nl=False)
    elif name is not None:
        kind = registry.find(name)
        written(console, lambda: reference.show(kind, console))
    else:
        written(console, lambda: reference.show_all(registry.all_passes(), registry.aliases(), console))


def updated(text: str, reference: str, where: Path) -> str:
    """`text` with what stands between the two marks replaced. Raises UsageError where they are missing."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{where}: it has no lines {BEGIN} and {END} to put the reference between")
    return f"{head}{begin}\n{reference}{end}{tail}"
