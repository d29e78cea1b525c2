"""`onnx-compress`: the entry point. The first word selects the file of this folder that does the work.

Exit status: 0 done; 2 bad usage or bad input, one line on stderr; 3 written, but a pass was rolled back or a target
missed (verify, zoo check: outside tolerance); 130 interrupted; 1 our own fault, with a file that reproduces it.
"""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from onnx_compress.compiler.errors import CompressError, UserError

NAME = "onnx-compress"
INTERRUPTED = 128 + signal.SIGINT

COMMANDS = {
    "passes": "List the passes, or show one in full.",
    "inspect": "Show the layers of a model: parameters, MACs, bytes.",
    "verify": "Compare the outputs of two models.",
    "bench": "Time models side by side.",
    "pack": "Pack a model into an entropy-coded file.",
    "unpack": "Restore a packed model, byte for byte.",
    "zoo": "Fetch real models, run the compiler on them, check for regressions.",
}
"""The subcommands and their help, listed here so that `--help` imports none of them."""

HELP = f"""Usage: {NAME} IN.onnx -p PASS[,PASS…] -o OUT.onnx [OPTIONS]
       {NAME} COMMAND [ARGUMENTS]

Make a trained ONNX model smaller and faster, and show what that cost.

  {NAME} model.onnx -p prune,quantize -o small.onnx --data samples.npz

Commands:
{{commands}}

'{NAME} IN.onnx --help' lists the options for compressing,
'{NAME} COMMAND --help' those of a command. A model file with
the name of a command is given as ./NAME.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; nothing is raised."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(given)
        sys.stdout.flush()  # a closed pipe must be noticed here, not when Python exits
        return status
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader closed the pipe. Python would report that again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        return _refuse(error)
    except UserError as error:
        return _complain(_one_line(str(error)), error.exit_status)


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
        click.echo(HELP.format(commands=lines), nl=False)
        return 0 if given else 2
    if given[0] == "--version":
        from importlib import metadata

        click.echo(f"{NAME} {metadata.version(NAME)}")
        return 0
    out: Path | None = None
    try:
        command, rest = _command(given)
        context = command.make_context(_program(given), rest)
        out = context.params.get("out")
        with context:
            status = command.invoke(context)
    except (UserError, click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception as error:
        return _own_fault(error, given, out)
    return status if isinstance(status, int) else 0


def _program(given: list[str]) -> str:
    return f"{NAME} {given[0]}" if given[0] in COMMANDS else NAME


def _command(given: list[str]) -> tuple[click.Command, list[str]]:
    """The click command for the first word and its arguments; a word that is not a command is a model's path."""
    name, rest = (given[0], given[1:]) if given[0] in COMMANDS else ("compress", list(given))
    module = importlib.import_module(f"onnx_compress.compiler.cli.{name}")
    command = getattr(module, name)
    assert isinstance(command, click.Command)
    return command, rest


def _complain(text: str, status: int) -> int:
    click.echo(f"{NAME}: {'' if status == INTERRUPTED else 'error: '}{text}", err=True)
    return status


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _refuse(error: click.ClickException) -> int:
    """Bad usage in one line; a command group without a command shows its help instead."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        click.echo(error.format_message(), err=True)
        return 2
    return _complain(_one_line(error.format_message()), 2)


def _own_fault(error: Exception, given: list[str], out: Path | None) -> int:
    """Write a file with the traceback (and the last good model, if any), and say where it is."""
    from onnx_compress.compiler.pipeline import reproducer

    command = shlex.join([NAME, *given])
    left = reproducer.leave(error, out or Path(NAME), command)
    left = left or reproducer.leave(error, Path(tempfile.gettempdir()) / NAME, command)
    cause = _one_line(str(error)) or type(error).__name__
    if not isinstance(error, CompressError):
        cause = f"{type(error).__name__}: {cause}"
    where = " and ".join(str(path) for path in left) or "nowhere: no folder could be written to"
    return _complain(f"this is our own fault: {cause[:400]}; what reproduces it is in {where}", 1)
