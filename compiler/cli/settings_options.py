"""The settings of a run as options of the command line, generated from their declaration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from onnx_compress.compiler.pipeline.options import OptionInfo
from onnx_compress.compiler.pipeline.settings import Settings

C = TypeVar("C", bound=Callable[..., Any])
METAVARS = {
    "metric": "NAME",
    "max_drop": "POINTS",
    "exclude": "GLOB",
    "opset": "N",
    "seed": "N",
    "threads": "N",
    "latency_table": "FILE",
}


def settings_options(command: C) -> C:
    """Add an option for each setting to a command; an option that is not given is None or empty."""
    for info in reversed(Settings.declared()):
        command = _option(info)(command)
    return command


def _option(info: OptionInfo) -> Callable[[C], C]:
    flag = _flag(info.name)
    help_ = f"{info.help[:1].upper()}{info.help[1:]}."
    if bool in info.kinds:
        return click.option(flag, is_flag=True, default=None, help=help_)
    if info.default == ():
        return click.option(flag, multiple=True, metavar=METAVARS[info.name], help=help_)
    kind = next(kind for kind in (int, float, str) if kind in info.kinds)
    return click.option(flag, type=kind, metavar=METAVARS[info.name], help=help_)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that the user gave, in the form of a table. Raises UsageError for a value out of bounds."""
    known = {info.name: info for info in Settings.declared()}
    found = {name: value for name, value in options.items() if value not in (None, ())}
    for name, value in found.items():
        known[name].check(value, _flag(name))
    return found
