"""The settings of a run besides its passes: declared once, for recipes, the command line and Python."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline.options import OptionInfo, option, options_of

DEFAULT_DROP = 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run: the keys of a recipe's `[settings]` and options of the command line.

    Without a `max_drop` the budget is 1.0 point, and a strength that the user gave is kept and reported at any
    cost. Raises UsageError for a value out of bounds.
    """

    metric: str | None = option(None, "top1, top1-expected, cosine, or module:function")
    max_drop: float | None = option(
        None, "points of the metric that all passes together may cost [default: 1.0]", low=0
    )
    exclude: tuple[str, ...] = option((), "glob of layer names that no pass may touch; repeatable")
    opset: int | None = option(None, "newest opset that the result may need", low=7)
    portable: bool = option(False, "no operators beyond ONNX's own")
    raw: bool = option(False, "run the given passes and nothing else")
    seed: int = option(0, "seed for all randomness [default: 0]", low=0)
    threads: int = option(1, "threads that latency is measured with [default: 1]", low=1)
    latency_table: str | Path | None = option(None, "file of timings to choose by [default: one in your cache folder]")

    def __post_init__(self) -> None:
        for info in self.declared():
            info.check(getattr(self, info.name), "settings")
        if self.max_drop is not None and not math.isfinite(self.max_drop):
            raise UsageError(f"settings: option 'max_drop' is a finite number of points, not {self.max_drop}")

    @classmethod
    def declared(cls) -> tuple[OptionInfo, ...]:
        """The settings with their types, defaults and help."""
        return options_of(cls)

    @classmethod
    def of(cls, *tables: Mapping[str, Any]) -> Settings:
        """The settings of several tables: the last one wins, key by key; exclusions add up."""
        merged: dict[str, Any] = {}
        for table in tables:
            merged.update(table)
        globs = [glob for table in tables for glob in table.get("exclude", ())]
        return cls(**{**merged, "exclude": tuple(dict.fromkeys(globs))})

    @classmethod
    def table(cls, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        """A table of settings as in TOML, checked key by key; `where` names it in messages. Raises UsageError."""
        known = {info.name: info for info in cls.declared()}
        table = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        for key, value in table.items():
            if key not in known:
                raise UsageError(f"{where}: unknown key '{key}'; {_hint(key, list(known))}")
            if value is None:
                raise UsageError(f"{where}: '{key}' has no value")
            known[key].check(value, where)
        return table

    def given(self) -> dict[str, Any]:
        """The settings that differ from their defaults: those override a recipe's."""
        return {
            info.name: getattr(self, info.name) for info in self.declared() if getattr(self, info.name) != info.default
        }

    @property
    def budget(self) -> float:
        """The budget in points."""
        return DEFAULT_DROP if self.max_drop is None else self.max_drop


def _hint(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"the keys are {', '.join(known)}"
