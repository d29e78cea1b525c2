"""What a pass is given beside the model: the original, data, analyses, the budget, and a way to say no."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar
from zlib import crc32

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.timing.layer_times import Forms


class Analysis(Protocol):
    """Something computed from a model, such as its channel groups. `of` must not change the model."""

    @classmethod
    def of(cls, model: Model) -> Self:
        """Compute it."""
        ...


class Judge(Protocol):
    """Measures a candidate against the original, always on the same held-out data and machine."""

    max_drop: float

    def drop(self, model: Model) -> float:
        """Points of the metric that `model` loses against the original, on held-out data (negative: gains)."""
        ...

    def speed(self, models: Mapping[str, Model], feeds: Mapping[str, np.ndarray] | None = None) -> Mapping[str, float]:
        """Median milliseconds of each model, measured interleaved in one run, for `feeds` (None: one sample)."""
        ...

    def layer_times(self, forms: Forms, advance: Callable[[], object]) -> list[dict[str, float]]:
        """Milliseconds of each layer, by its name, in each of many forms of a model; `advance` after each."""
        ...

    def channel_step(self) -> int:
        """In steps of how many channels layers take their time."""
        ...


class Progress(Protocol):
    """A bar that a pass moves on."""

    def __call__(self, done: int = 1, note: str = "") -> None:
        """Move on by `done` steps."""
        ...


@dataclass(frozen=True)
class Skip:
    """A place that a pass left alone, and why."""

    where: str
    why: str


A = TypeVar("A", bound=Analysis)


@dataclass
class Context:
    """One per run of a pass.

    `original` is the model after `simplify`, before any lossy pass; `data` the calibration samples (never
    the held-out ones); `judge` measures on the held-out ones; `exclude` are globs of layer names that no
    pass may touch; `overrides` maps globs of layer names to options that hold for these layers only.
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
    skips: list[Skip] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    """What the pass wants to say in the report beside the figures (rankings, tables), as plain JSON values."""
    run_spec: Callable[[str], int] | None = None
    bars: Callable[[str, int], AbstractContextManager[Progress]] | None = None
    _cache: dict[type, tuple[int, Any]] = field(default_factory=dict)

    @property
    def rng(self) -> np.random.Generator:
        """The only source of randomness: seeded by the run's seed and the pass's name, the same at every call."""
        return np.random.default_rng([self.seed, crc32(self.pass_name.encode())])

    def get(self, analysis: type[A]) -> A:
        """The analysis of the model as it is now; computed once per state of the model."""
        version, result = self._cache.get(analysis, (-1, None))
        if version != self.model.version:
            result = analysis.of(self.model)
            self._cache[analysis] = (self.model.version, result)
        return result  # type: ignore[no-any-return]

    def skip(self, where: Node | str, why: str) -> None:
        """Say that a place is left alone, and why; it goes into the report."""
        self.skips.append(Skip(where if isinstance(where, str) else where.label(), why))

    def is_excluded(self, node: Node) -> bool:
        """Whether the user keeps this layer out of every pass."""
        return any(node.matches(glob) for glob in self.exclude)

    def override(self, node: Node) -> Mapping[str, Any]:
        """Options that the recipe sets for this layer; the last matching glob wins, name by name."""
        merged: dict[str, Any] = {}
        for glob, options in self.overrides:
            if node.matches(glob):
                merged.update(options)
        return merged

    def run(self, spec: str) -> int:
        """Run other passes on the model as it is now; returns at how many places they changed it."""
        if self.run_spec is None:
            raise ValueError("this context can't run other passes")
        return self.run_spec(spec)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """A progress bar over `total` steps; it shows only when the work takes more than a second."""
        if self.bars is None:
            yield silent
            return
        with self.bars(label, total) as advance:
            yield advance


def silent(done: int = 1, note: str = "") -> None:
    """No one is watching."""
