"""Options, declared once as fields of a dataclass: for constructors, command line, recipes, help and reference."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_compress.compiler.errors import UsageError


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | tuple[int, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare an option: its default, one line of help, and its allowed values (`low` and `high` inclusive)."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class OptionInfo:
    """One option, for the reference and `--help`."""

    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...] | tuple[int, ...] | None
    low: float | None
    high: float | None

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types of its values, including None's."""
        is_union = isinstance(self.type, types.UnionType) or typing.get_origin(self.type) is typing.Union
        return typing.get_args(self.type) if is_union else (self.type,)

    def check(self, value: Any, where: str) -> None:
        """Raise UsageError unless `value` is of the declared type and among the allowed values."""
        if not any(_fits(value, kind) for kind in self.kinds):
            raise UsageError(f"{where}: option '{self.name}' takes {type_name(self)}, not {value!r}")
        if value is None:
            return
        if self.choices is not None and value not in self.choices:
            raise UsageError(
                f"{where}: option '{self.name}' is one of {', '.join(map(str, self.choices))}, not {value!r}"
            )
        if (self.low is not None and not value >= self.low) or (self.high is not None and not value <= self.high):
            raise UsageError(f"{where}: option '{self.name}' {self._bounds()}, not {value}")

    def _bounds(self) -> str:
        if self.high is None:
            return f"is {self.low:g} or more"
        return f"lies between {self.low} and {self.high}" if self.low is not None else f"is at most {self.high:g}"


def options_of(declared: type) -> tuple[OptionInfo, ...]:
    """The options that a dataclass declares, in order."""
    hints = typing.get_type_hints(declared)
    return tuple(
        OptionInfo(
            name=f.name,
            type=hints[f.name],
            default=f.default,
            help=f.metadata.get("help", ""),
            choices=f.metadata.get("choices"),
            low=f.metadata.get("low"),
            high=f.metadata.get("high"),
        )
        for f in dataclasses.fields(declared)
    )


_TYPE_NAMES: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a word",
    Path: "a path",
    type(None): "none",
}


def type_name(info: OptionInfo) -> str:
    """The readable name of an option's type: `float | None` is 'a number or none'."""
    return " or ".join(_TYPE_NAMES.get(kind, "a list of words") for kind in info.kinds)


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(isinstance(item, typing.get_args(kind)[0]) for item in value)
    if kind is float and isinstance(value, int | float):
        return not isinstance(value, bool)
    if kind is int and isinstance(value, bool):
        return False
    return isinstance(value, kind)
