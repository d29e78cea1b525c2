"""What a pass is: a frozen dataclass whose fields are its options, with one method.

`CONTRIBUTING.md` has two complete ones, which the tests run.

The one declaration of an option (`ratio: float | None = option(None, "share of MACs to remove")`) feeds
the constructor, the specification on the command line, recipes, `--help`, the reference and the report.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from onnx_compress.compiler.errors import UsageError

if TYPE_CHECKING:
    from onnx_compress.compiler.ir.model import Model
    from onnx_compress.compiler.pipeline.context import Context


RATIOS = tuple(round(0.05 * k, 2) for k in range(1, 19))
"""Ratios that a search for an open strength tries: finer steps drown in the noise of a few hundred samples."""


class Effect(enum.Enum):
    """What a pass may do to the numbers, and therefore when it may run."""

    EXACT = "exact"
    """Outputs stay within 1e-5 of their scale; may run without being asked for."""
    LOSSY = "lossy"
    """Outputs change; measured, and judged by the budget."""
    RETRAIN = "retrain"
    """Weights are trained; needs the `[retrain]` extra."""


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | tuple[int, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare an option of a pass: its default, one line of help, and what values are allowed (inclusive)."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class OptionInfo:
    """One option as the reference and `--help` show it."""

    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...] | tuple[int, ...] | None
    low: float | None
    high: float | None

    def check(self, value: Any, where: str) -> None:
        """Raise UsageError unless `value` is of the declared type and among the allowed values."""
        if not _fits(value, self.type):
            raise UsageError(f"{where}: option '{self.name}' takes {type_name(self.type)}, not {value!r}")
        if value is None:
            return
        if self.choices is not None and value not in self.choices:
            raise UsageError(
                f"{where}: option '{self.name}' is one of {', '.join(map(str, self.choices))}, not {value!r}"
            )
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise UsageError(f"{where}: option '{self.name}' lies between {self.low} and {self.high}, not at {value}")


def type_name(annotation: Any) -> str:
    """Human name of an option's type: `float | None` reads as 'a number or none'."""
    names = {
        float: "a number",
        int: "a whole number",
        bool: "true or false",
        str: "a word",
        type(None): "none",
    }
    return " or ".join(names.get(t, str(t)) for t in _alternatives(annotation))


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    is_union = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union
    return typing.get_args(annotation) if is_union else (annotation,)


def _fits(value: Any, annotation: Any) -> bool:
    for kind in _alternatives(annotation):
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return True
        if kind is int and isinstance(value, bool):
            continue
        if isinstance(value, kind):
            return True
    return False


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One small rewrite of the graph. Subclass, set `name` and `effect`, declare options, write `run`."""

    name: ClassVar[str] = ""
    effect: ClassVar[Effect]
    strength: ClassVar[str | None] = None
    """The option that says how strongly to compress; none there means: as far as the budget allows."""
    other_strengths: ClassVar[tuple[str, ...]] = ()
    """Options that say it in another way: at most one of them all is given, and then nothing is left open."""
    strengths: ClassVar[tuple[float, ...]] = RATIOS
    """The values of that option that are tried, from the weakest to the strongest."""
    repairs: ClassVar[bool] = False
    """True for refit and retraining: the lossy passes before it are judged together with it."""
    changes_inputs: ClassVar[bool] = False
    """True when the pass changes the signature of the model on purpose."""
    per_layer: ClassVar[tuple[str, ...]] = ()
    """Options that a recipe may set for single layers: those that `run` asks `ctx.override` for."""

    def __post_init__(self) -> None:
        for info in self.options():
            info.check(getattr(self, info.name), self.name)
        if len(given := self._strengths_given()) > 1:
            raise UsageError(f"{self.name}: {' and '.join(given)} both say how strongly to compress; give one of them")

    def run(self, model: Model, ctx: Context) -> int:
        """Rewrite `model` in place and return at how many places; 0 exactly when nothing changed."""
        raise NotImplementedError(f"pass '{self.name}' does not define run()")

    @classmethod
    def options(cls) -> tuple[OptionInfo, ...]:
        """The options in the order of declaration."""
        hints = typing.get_type_hints(cls)
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
            for f in dataclasses.fields(cls)
        )

    def values(self) -> Mapping[str, Any]:
        """The options as set on this instance."""
        return {info.name: getattr(self, info.name) for info in self.options()}

    def is_open(self) -> bool:
        """Whether the strength is left to the budget."""
        return self.strength is not None and not self._strengths_given()

    def is_given(self) -> bool:
        """Whether the user set the strength, so that it is kept even where it costs more than the default budget."""
        return bool(self._strengths_given())

    def _strengths_given(self) -> list[str]:
        names = self.other_strengths if self.strength is None else (self.strength, *self.other_strengths)
        return [f"'{name}'" for name in names if getattr(self, name) is not None]

    def with_options(self, **changes: Any) -> Self:
        """A copy with some options changed."""
        return dataclasses.replace(self, **changes)
