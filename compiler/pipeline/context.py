"""What a pass gets besides the model: the original, data, analyses, the budget, and a way to skip places."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar
from zlib import crc32

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.memory import Analysis, Memory
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.effort import FULL, Effort
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.timing.layer_times import Forms


class Judge(Protocol):
    """Measures candidates against the original, always on the same held-out data and machine."""

    @property
    def max_drop(self) -> float:
        """The budget in points."""
        ...

    def drop(self, model: Model) -> float:
        """Points of the metric that `model` loses against the original, on held-out data (negative: gains)."""
        ...

    def speed(self, models: Mapping[str, Model], feeds: Mapping[str, np.ndarray] | None = None) -> Mapping[str, float]:
        """Median milliseconds of each model, measured interleaved in one run, for `feeds` (None: one sample)."""
        ...

    def layer_times(self, forms: Forms, advance: Callable[[], object]) -> list[dict[str, float]]:
        """Milliseconds of each layer, by its name, in each of many variants of a model; `advance` after each."""
        ...

    def channel_step(self) -> int:
        """Channels in which layers' times step: the CPU's channel block, 16 on AVX-512."""
        ...


class Progress(Protocol):
    """A progress bar."""

    def __call__(self, done: int = 1, note: str = "") -> None:
        """Advance by `done` steps."""
        ...


MISSED = 0.02
"""Difference from a requested share from which it counts as missed."""

Finish: TypeAlias = Callable[[Model], Model]
"""Gives a model the form in which it will run after the later passes; its values mean nothing."""


@dataclass(frozen=True)
class Skip:
    """A place that a pass left alone, and why."""

    where: str
    why: str


A = TypeVar("A", bound=Analysis)
R = TypeVar("R")


@dataclass
class Context:
    """Created once per run of a pass.

    `original` is the model after `simplify`, before any lossy pass; `data` the calibration samples (never the
    held-out ones); `judge` measures on the held-out ones; `exclude` are globs of layer names that no pass may
    change; `overrides` maps globs of layer names to options for these layers only.
    """

    model: Model
    original: Model
    data: Dataset
    judge: Judge
    seed: int
    pass_name: str
    exclude: tuple[str, ...] = ()
    overrides: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    opset: int | None = None
    """The newest opset that the user allows; None: any."""
    effort: Effort = FULL
    """The limit for repairs: low if this run is only compared with others."""
    finish: Finish | None = None
    """In a search for time: applies the later passes to a model, to time it as it will run."""
    memory: Memory = field(default_factory=Memory)
    skips: list[Skip] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    """Additional facts for the report (rankings, tables), as plain JSON values."""
    run_steps: Callable[[object], int] | None = None
    bars: Callable[[str, int], AbstractContextManager[Progress]] | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The only source of randomness: seeded by the run's seed and the pass's name, the same at every call."""
        return np.random.default_rng([self.seed, crc32(self.pass_name.encode())])

    def get(self, analysis: type[A]) -> A:
        """The analysis of the present model; computed once per state of the model."""
        return self.memory.analysis(self.model, analysis)

    def remember(self, key: Hashable, make: Callable[[], R]) -> R:
        """The result of `make` for the present model: computed once in a run, reused by later trials.

        `key` names everything that it depends on besides the model, the data, the seed and the exclusions. It
        must not hold nodes or tensors, which belong to one copy of the model.
        """
        whole = (self.pass_name, key, self.data.key, self.seed, self.exclude, self.overrides_key)
        return self.memory.result(self.model, whole, make)

    @property
    def overrides_key(self) -> Hashable:
        """The overrides in hashable form."""
        return repr([(glob, sorted(options.items())) for glob, options in self.overrides])

    def skip(self, where: Node | str, why: str) -> None:
        """Report that a place is left alone, and why."""
        self.skips.append(Skip(where if isinstance(where, str) else where.label(), why))

    def miss(self, why: str) -> None:
        """Report that a target set by the user is missed: it comes first in the report, and the exit status is 3."""
        self.missed.append(why)

    def is_excluded(self, node: Node) -> bool:
        """Whether the user excludes this layer from all passes."""
        return any(node.matches(glob) for glob in self.exclude)

    def override(self, node: Node) -> Mapping[str, Any]:
        """Options that the recipe sets for this layer; the last matching glob wins, name by name."""
        merged: dict[str, Any] = {}
        for glob, options in self.overrides:
            if node.matches(glob):
                merged.update(options)
        return merged

    def run(self, steps: object) -> int:
        """Run other passes on the present model; returns the number of places that they changed.

        They are given as a specification (`"refit:samples=256"`), as a `Step` with options for single layers,
        or as several of these.
        """
        if self.run_steps is None:
            raise ValueError("this context can't run other passes")
        return self.run_steps(steps)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """A progress bar over `total` steps, shown only if the work takes more than a second."""
        if self.bars is None:
            yield silent
            return
        with self.bars(label, total) as advance:
            yield advance


def silent(done: int = 1, note: str = "") -> None:
    """Show nothing."""
