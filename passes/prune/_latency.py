"""Widths for a share of the time that a model takes, found by the times of its layers and checked against the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.channels.latency import LatencyCost, forms, layers_of
from onnx_compress.compiler.analysis.channels.removal import Cut, without
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.layer_times import Forms
from onnx_compress.passes.prune._widths import Choice, Macs, Widths

TOLERANCE = 0.03
"""How far from the share that was asked for the measured one may be."""
ROUNDS = 6
"""Times that the target is corrected by what was measured."""

Choose = Callable[[Macs, float], Choice]


@dataclass(frozen=True, eq=False)
class Found:
    """What was chosen, and the share of the original's time that the narrowed model took when measured."""

    choice: Choice
    share: float
    predicted: float
    tried: tuple[tuple[float, float], ...] = ()
    """Shares predicted and measured of all that was tried, in order."""


def cuts_of(groups: ChannelGroups, orders: Sequence[np.ndarray], kept: np.ndarray) -> tuple[Cut, ...]:
    """What is removed, the sets of each group in the order in which they go."""
    cuts = (Cut(g, np.sort(o[: g.size - int(k)])) for g, o, k in zip(groups.prunable, orders, kept))
    return tuple(cut for cut in cuts if len(cut.gone))


@dataclass(frozen=True, eq=False)
class Clock:
    """The time of `model`, whose groups these are, by their widths."""

    model: Model
    groups: ChannelGroups
    ctx: Context

    def narrowed(self, kept: np.ndarray) -> Model:
        """The model with so many sets of each group; which of them does not matter for its time."""
        return without(
            self.model, self.groups, cuts_of(self.groups, [np.arange(g.size) for g in self.groups.prunable], kept)
        )

    def cost(self, widths: Widths, step: int) -> LatencyCost:
        """Milliseconds by widths in multiples of `step`, such that the model as it is takes what is measured of it."""
        layers = layers_of(self.groups)
        seen = forms(layers, widths.candidates(step))
        with self.ctx.progress("times", len(seen)) as advance:
            several = Forms(self.model, [tuple(kept) for kept in seen.tolist()], lambda i: self.narrowed(seen[i]))
            times = self.ctx.judge.layer_times(several, advance)
        cost = LatencyCost(layers, widths.units(step), seen, times)
        cost.calibrate(widths.sizes, self.ctx.judge.speed({"model": self.model})["model"])
        return cost

    def share(self, kept: np.ndarray) -> float:
        """Time of the narrowed model over the original's, measured side by side."""
        times = self.ctx.judge.speed({"original": self.ctx.original, "narrowed": self.narrowed(kept)})
        return times["narrowed"] / times["original"]

    def within(self, share: float, cost: LatencyCost, widths: Widths, step: int, choose: Choose) -> Found:
        """The choice that takes this share of the original's time, as far as there is one.

        What a choice takes is measured; as much as it misses by, the target is corrected, and the choice made anew.
        The slowest of those within the tolerance is taken, or the fastest where none is.
        """
        whole = cost.ms(widths.sizes)
        least = cost.ms(widths.narrowest(step))
        aim, tried = share * whole * self.before(), dict[tuple[int, ...], Found]()
        for _ in range(ROUNDS):
            choice = choose(cost.ms, max(aim, least))
            key = tuple(choice.kept.tolist())
            if key in tried:
                break
            tried[key] = Found(choice, self.share(choice.kept), cost.ms(choice.kept) / whole)
            miss = tried[key].share / share
            if abs(miss - 1) <= TOLERANCE or (miss > 1 and aim <= least):
                break
            aim = max(aim, least) / miss
        every = tuple((round(found.predicted, 3), round(found.share, 3)) for found in tried.values())
        return replace(best_of(list(tried.values()), share), tried=every)

    def before(self) -> float:
        """The original's time over the model's, which other passes may have changed already."""
        if self.ctx.original is self.model:
            return 1.0
        times = self.ctx.judge.speed({"original": self.ctx.original, "model": self.model})
        return times["original"] / times["model"]


def best_of(tried: Sequence[Found], share: float) -> Found:
    """The slowest within the tolerance, since it loses least, or else the fastest."""
    fast = [found for found in tried if found.share <= share * (1 + TOLERANCE)]
    return max(fast, key=lambda found: found.share) if fast else min(tried, key=lambda found: found.share)
