"""Removal of whole channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.removal import Cut, Removal, apply
from onnx_compress.compiler.analysis.channels.widths import WidthCost
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.prune._criteria import CRITERIA
from onnx_compress.passes.prune._slices import slices_of
from onnx_compress.passes.prune._widths import Widths, choose

MEASURED_STEP = 16
"""onnxruntime's CPU kernels work on blocks of 16 channels (AVX-512): 45 channels take longer than 48."""


@dataclass(frozen=True, kw_only=True)
class PruneChannels(Pass):
    """Remove whole channels, with everything that hangs on them.

    Given Y = W₂ · f(W₁ · X), rows `gone` of W₁ and columns `gone` of W₂ are taken away, as is index `gone` of
    everything between and beside them: biases, normalizations, shortcuts that are added, what is
    concatenated, groups, heads, states of recurrent layers. Which channels go together is found by
    `ChannelGroups`; the graph stays as it is, only narrower.

    Every group keeps the same share of its channels, those with the highest scores, chosen so that the model's
    multiply-accumulates fall by `ratio`; widths are multiples of `round`, or of a half, a quarter, … of it where
    the ratio can't be met otherwise. A recipe may set `ratio` for single layers: the share of this layer's own
    channels to remove, whatever the rest does.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (arXiv:1608.08710); Fang et al., "DepGraph:
    Towards Any Structural Pruning", CVPR 2023 (arXiv:2301.12900).

    The wrong choice for models without redundancy (already slim mobile nets lose points quickly without
    retraining), and where only the size of the file matters: clustering costs less.
    """

    name = "prune-channels"
    effect = Effect.LOSSY
    strength = "ratio"

    ratio: float | None = option(None, "share of MACs to remove; none: as far as the budget allows", low=0.0, high=0.95)
    criterion: str = option("l2", "what makes a channel matter", choices=tuple(CRITERIA))
    round: int = option(0, "widths are multiples of this; 0: the step measured for the CPU, 16", low=0, high=256)

    def run(self, model: Model, ctx: Context) -> int:
        """Remove channels; returns of how many groups."""
        if self.ratio is None:
            ctx.skip(self.name, "its ratio is open: the budget decides it, and there is none here")
            return 0
        cuts = self.plan(model, ctx)
        if cuts:
            apply(model, Removal.of(ctx.get(ChannelGroups), cuts))
        return len(cuts)

    def plan(self, model: Model, ctx: Context) -> tuple[Cut, ...]:
        """Which channels of which groups to remove."""
        groups = ctx.get(ChannelGroups)
        cost = WidthCost(model, groups)
        freedom = Widths(
            sizes=cost.sizes,
            multiplicity=np.array([group.multiplicity for group in cost.groups], np.int64),
            fixed=np.array([self._kept_anyway(group, ctx) for group in cost.groups], np.int64),
        )
        target = round((1 - (self.ratio or 0.0)) * cost.macs(cost.sizes))
        kept, step = choose(freedom, cost.macs, target, self.round or MEASURED_STEP)
        if cost.macs(kept) > target:
            ctx.skip("the model", f"its narrowest form keeps {cost.macs(kept) / cost.macs(cost.sizes):.0%} of the MACs")
        rng = ctx.rng
        cuts = (self._cut(group, int(count), ctx, rng) for group, count in zip(cost.groups, kept))
        ctx.notes["step"] = step
        return tuple(cut for cut in cuts if len(cut.gone))

    def _kept_anyway(self, group: Group, ctx: Context) -> int:
        """Sets that the user wants kept in this group, or -1."""
        layers = dict.fromkeys(place.node for place, _ in group.places)
        if any(ctx.is_excluded(layer) for layer in layers):
            ctx.skip(group.label, "a layer that it touches is excluded")
            return group.size
        ratios = [ctx.override(layer)["ratio"] for layer in group.producers if "ratio" in ctx.override(layer)]
        if not ratios:
            return -1
        share = 1 - float(min(ratios))
        return max(1, int(share * group.size + 0.5))

    def _cut(self, group: Group, kept: int, ctx: Context, rng: np.random.Generator) -> Cut:
        """The channels with the lowest scores; of equal ones the last."""
        if kept == group.size:
            return Cut(group, np.zeros(0, np.int64))
        slices = slices_of(group, ctx.get(ChannelGroups).sets.roots)
        scores = CRITERIA[self.criterion](slices, rng)
        if scores is None:
            ctx.skip(group.label, f"criterion {self.criterion} has nothing to go by; l2 decides")
            scores = CRITERIA["l2"](slices, rng)
        assert scores is not None
        order = np.argsort(-scores, kind="stable")
        return Cut(group, np.sort(order[kept:]))
