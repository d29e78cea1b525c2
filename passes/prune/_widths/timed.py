"""Choose widths for a target time: by the times of layers, checked by timing the whole model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.channels.latency_cost import LatencyCost, forms, layers_of
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.timing.layer_times import Forms
from onnx_compress.compiler.surgery.channel_removal import Cut, without
from onnx_compress.passes.prune._widths.widths import Choice, Macs, Widths

TOLERANCE = 0.03
"""Accepted relative difference between the measured and the requested share of time."""
ROUNDS = 6
"""Maximum number of corrections of the target by measurement."""

FINEST_AIM = 1.01
"""The search ends when the bounds of the target are within this factor of each other."""
MOST_RUN, MOST_LOADED = 1 << 38, 1 << 32
"""Limit for the multiply-accumulates and bytes of weights of all timed variants, each counted at full width."""

MOST_FINISHED = 9
"""Maximum number of variants that are timed behind other passes, since these passes have to run on each of them."""

Choose = Callable[[Macs, float], Choice]


@dataclass(frozen=True, eq=False)
class FoundWidths:
    """A choice, and the measured share of the original's time that the narrowed model takes."""

    choice: Choice
    share: float
    predicted: float
    tried: tuple[tuple[float, float], ...] = ()
    """The predicted and measured shares of all tried choices, in order."""


def _unchanged(model: Model) -> Model:
    return model


def cuts_of(groups: ChannelGroups, orders: Sequence[np.ndarray], kept: np.ndarray) -> tuple[Cut, ...]:
    """The removed sets, given the order of removal of each group."""
    cuts = (Cut(g, np.sort(o[: g.size - int(k)])) for g, o, k in zip(groups.prunable, orders, kept))
    return tuple(cut for cut in cuts if len(cut.gone))


@dataclass(frozen=True, eq=False)
class Clock:
    """The time of `model`, whose groups these are, as a function of their widths."""

    model: Model
    groups: ChannelGroups
    ctx: Context

    def narrowed(self, kept: np.ndarray) -> Model:
        """The model with `kept` sets of each group; which ones does not matter for its time."""
        return without(
            self.model, self.groups, cuts_of(self.groups, [np.arange(g.size) for g in self.groups.prunable], kept)
        )

    def cost(self, widths: Widths, step: int, macs: float) -> LatencyCost:
        """Milliseconds by widths in multiples of `step`, for a model of `macs` multiply-accumulates.

        They are scaled so that the unchanged model takes its measured time. In a search the layers are timed in
        the form that the later passes give them.
        """
        key = "times", step, macs, self.ctx.finish is None
        return self.ctx.remember(key, lambda: self._cost(widths, step, macs))

    def _cost(self, widths: Widths, step: int, macs: float) -> LatencyCost:
        finish = self.ctx.finish or _unchanged
        most_forms = inf if self.ctx.finish is None else MOST_FINISHED
        layers = layers_of(self.groups)
        most = min(MOST_RUN / max(1, macs), MOST_LOADED / max(1, self.model.weight_bytes()))
        seen = forms(layers, widths.candidates(step), min(most, most_forms))
        with self.ctx.progress("times", len(seen)) as advance:
            kept = [tuple(sets) for sets in seen.tolist()]
            several = Forms(finish(self.model), kept, lambda i: finish(self.narrowed(seen[i])))
            times = self.ctx.judge.layer_times(several, advance)
        cost = LatencyCost(layers, widths.units(step), seen, times)
        if self.ctx.finish is None:
            cost.calibrate(widths.sizes, self.now["model"])
        return cost

    @cached_property
    def now(self) -> Mapping[str, float]:
        """Milliseconds of the original, and of the present model, which earlier passes may have changed."""
        return self.ctx.judge.speed({"original": self.ctx.original, "model": self.model})

    def share(self, kept: np.ndarray) -> float:
        """Time of the narrowed model over the original's, measured side by side."""
        times = self.ctx.judge.speed({"original": self.ctx.original, "narrowed": self.narrowed(kept)})
        return times["narrowed"] / times["original"]

    def within(self, share: float, cost: LatencyCost, widths: Widths, step: int, choose: Choose) -> FoundWidths:
        """The choice that takes this share of the original's time, as far as possible.

        Each choice is timed; the target is corrected by the factor it misses by, between the targets known to
        be too slow and fast enough, and the choice is made again. The result is the slowest choice within the
        tolerance, or the fastest if none is.
        """
        original, least = self.now["original"], cost.ms(widths.narrowest(step))
        aim, fast, slow = max(share * original, least), 0.0, np.inf
        tried: dict[tuple[int, ...], FoundWidths] = {}
        for _ in range(ROUNDS):
            choice = choose(cost.ms, aim)
            key = tuple(choice.kept.tolist())
            if key not in tried:
                tried[key] = FoundWidths(choice, self.share(choice.kept), cost.ms(choice.kept) / original)
            miss = tried[key].share / share
            fast, slow = (fast, aim) if miss > 1 else (aim, slow)
            if abs(miss - 1) <= TOLERANCE or slow <= max(least, fast * FINEST_AIM):
                break
            aim = aim / miss if fast < aim / miss < slow else (fast + slow) / 2
            aim = max(aim, least)
        every = tuple((round(found.predicted, 3), round(found.share, 3)) for found in tried.values())
        return replace(best_of(list(tried.values()), share), tried=every)


def best_of(tried: Sequence[FoundWidths], share: float) -> FoundWidths:
    """The slowest choice within the tolerance, since it loses least, or else the fastest."""
    fast = [found for found in tried if found.share <= share * (1 + TOLERANCE)]
    return max(fast, key=lambda found: found.share) if fast else min(tried, key=lambda found: found.share)
