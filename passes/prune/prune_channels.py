"""Removal of whole channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.latency_cost import LatencyCost, by_group
from onnx_compress.compiler.analysis.channels.width_cost import WidthCost
from onnx_compress.compiler.analysis.weight_readers import is_read_by
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import refit, sample_count
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal, apply
from onnx_compress.passes.prune._constants.means import add_to_biases, readers, shifts
from onnx_compress.passes.prune._criteria.lasso import lasso
from onnx_compress.passes.prune._criteria.obs import Ordering, obs
from onnx_compress.passes.prune._criteria.slices import Statistics, read_values, slices_of
from onnx_compress.passes.prune._criteria.statistics import measure, values_of
from onnx_compress.passes.prune._criteria.weight_scores import CRITERIA, Slices
from onnx_compress.passes.prune._gather.entries import Entries, Gather, insert, with_gathers
from onnx_compress.passes.prune._widths.measured import Measured
from onnx_compress.passes.prune._widths.timed import TOLERANCE, Choose, Clock, cuts_of
from onnx_compress.passes.prune._widths.widths import Choice, Macs, Widths, choose

REFITTED = 2048
"""Calibration samples that the refit uses, or more where they are small."""
ORDERINGS: dict[str, Ordering] = {"obs": obs, "lasso": lasso}
"""Criteria that need calibration data; without them energy decides."""


@dataclass(frozen=True, kw_only=True)
class PruneChannels(Pass):
    """Remove whole channels, with everything that hangs on them.

    Given Y = W₂ · f(W₁ · X), rows `gone` of W₁ and columns `gone` of W₂ are taken away, as is index `gone` of
    everything between and beside them: biases, normalizations, shortcuts that are added, what is
    concatenated, groups, heads, states of recurrent layers. Which channels go together is found by
    `ChannelGroups`; the graph stays as it is, only narrower. What the removed channels gave on average goes
    into the biases of the layers that read them.

    Which channels of a group go is decided by `criterion`: 'obs' takes those whose loss costs the layers that read
    them least when these are then solved anew, 'lasso' those whose factors a LASSO on what these layers give makes
    zero first, the others those with the lowest scores. How many, so that the model's multiply-accumulates fall by
    `ratio`, is decided by `scope`: 'uniform' keeps the same share everywhere; 'global' takes the widths of least
    loss, which is measured for each group and width at the model's outputs, with only that group pruned and the
    layers that read it solved anew. At the end all layers that changed are solved for by least squares against the
    original's activations, as the pass refit does (`refit`).

    With `gather`, the layer at the entry of a branch, which reads what a shortcut carries past it, may read fewer of
    the channels than the shortcut has: a Gather in front picks them. How many is decided together with the widths,
    among the numbers for which a convolution behind a Gather is measured to be faster. That goes further than the
    channels that all readers can spare, at the price of a node for each such layer.

    All this needs calibration data. Without, the energy of channels stands in for 'obs' and 'lasso', 'global' narrows,
    step by step, the group that loses least of it for what it saves, and nothing is solved for.

    With `latency` the budget is time instead: the share of the original's that may be left, on the machine at hand.
    The model runs in up to 49 forms of different widths, in which each layer is timed where it stands; widths are
    chosen by the times of layers, and then the whole model's is measured, and the choice corrected by what it misses.

    Widths are multiples of `round`; in groups narrower than four times that, and where the ratio can't be met
    otherwise, of a half, a quarter, … of it. A recipe may set `ratio` for single layers: the share of this layer's own
    channels to remove, whatever the rest does.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (arXiv:1608.08710); Fang et al., "DepGraph:
    Towards Any Structural Pruning", CVPR 2023 (arXiv:2301.12900); Frantar and Alistarh, "Optimal Brain Compression",
    NeurIPS 2022 (arXiv:2208.11580); He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017
    (arXiv:1707.06168).

    The wrong choice for models without redundancy (already slim mobile nets lose points quickly without
    retraining), and where only the size of the file matters: clustering costs less.
    """

    name = "prune-channels"
    effect = Effect.LOSSY
    strength = "ratio"
    per_layer = ("ratio",)
    other_strengths = ("latency",)

    ratio: float | None = option(None, "share of MACs to remove; none: as far as the budget allows", low=0.0, high=0.95)
    latency: float | None = option(
        None, "in place of ratio: the share of the original's time to come down to", low=0.05, high=1.0
    )
    criterion: str = option("obs", "what makes a channel matter", choices=(*ORDERINGS, *CRITERIA))
    scope: str = option("global", "where to cut: what costs least, or all alike", choices=("global", "uniform"))
    round: int = option(0, "widths are multiples of this; 0: the step in which the CPU works", low=0, high=256)
    fold: bool = option(True, "put the mean of what removed channels gave into the biases of their readers")
    gather: bool = option(False, "pick inputs by a Gather for layers beside a shortcut, where that is faster")
    refit: bool = option(True, "solve anew for all layers that changed, if there is calibration data")

    def run(self, model: Model, ctx: Context) -> int:
        """Remove channels; returns of how many groups, and how many layers gather their inputs."""
        if self.is_open():
            ctx.skip(self.name, "its ratio is open: the budget decides it, and there is none here")
            return 0
        groups = ctx.get(ChannelGroups)
        if not groups.prunable:
            _explain(groups, ctx)
            return 0
        entries = self._entries(model, ctx)
        statistics = measure(model, read_values(entries.among(groups), values_of(model)), ctx)
        cuts, gathers = self.plan(model, ctx, entries, statistics)
        if not cuts and not gathers:
            return 0
        removal = with_gathers(Removal.of(groups, cuts), gathers)
        lost = shifts(readers(model, removal), statistics, only_constant=not ctx.data.real) if self.fold else []
        apply(model, removal)
        add_to_biases(model, lost)
        insert(model, gathers)
        if self.refit and ctx.data.real:
            data = ctx.data.take(sample_count(model, ctx.data, REFITTED))
            report = refit(
                model, ctx.original, data, ctx.rng, layers=lambda n: not ctx.is_excluded(n), progress=ctx.progress
            )
            ctx.notes["refit"] = report.changed
        return len(cuts) + len(gathers)

    def _entries(self, model: Model, ctx: Context) -> Entries:
        """The layers that may gather their inputs."""
        shapes = _sample_shapes(ctx)
        cost = WidthCost(model, ctx.get(ChannelGroups), shapes)
        is_possible = ctx.data.real and self.scope == "global" and self.latency is None
        if self.gather and is_possible:
            return Entries.of(model, cost, ctx, shapes)
        if self.gather:
            ctx.skip("the model", "to gather inputs takes calibration data, scope=global and a share of MACs")
        return Entries(cost, ctx)

    def plan(
        self, model: Model, ctx: Context, entries: Entries, statistics: Statistics
    ) -> tuple[tuple[Cut, ...], tuple[Gather, ...]]:
        """Which channels of which groups to remove, and which layers read only some of their inputs."""
        groups, cost = ctx.get(ChannelGroups), entries.cost
        every = entries.among(groups)
        rng = ctx.rng
        slices = [slices_of(group, groups.sets.roots, statistics) for group in every.groups]
        scores = [self._scores(group, s, ctx, rng) for group, s in zip(every.groups, slices)]
        orders = [np.argsort(score, kind="stable") for score in scores]
        losses = [CRITERIA["energy"](s, rng) for s in slices]
        widths = Widths(
            sizes=cost.sizes,
            multiplicity=np.array([group.multiplicity for group in cost.groups], np.int64),
            fixed=np.array([_kept_anyway(group, ctx) for group in cost.groups], np.int64),
            losses=[_ordered(loss, order) for loss, order in zip(losses[: len(cost.groups)], orders)],
        )
        measured = Measured(model, entries, scores, ORDERINGS.get(self.criterion), ctx, cost.macs(cost.sizes))
        step = self.round or ctx.judge.channel_step()

        def chosen(costs: Macs, target: float) -> Choice:
            if ctx.data.real:
                return measured.choose(widths, costs, target, step, self.scope)
            return Choice(orders, *choose(widths, costs, target, step, self.scope))

        if self.latency is not None:
            clock = Clock(model, groups, ctx)
            return self._by_clock(clock, clock.cost(widths, step, cost.macs(cost.sizes)), widths, step, chosen), ()
        choice = self._by_macs(entries, chosen)
        cuts = _noted(ctx, choice)
        return cuts, entries.gathers(Removal.of(groups, cuts), choice.orders, choice.kept)

    def _by_macs(self, entries: Entries, chosen: Choose) -> Choice:
        """What leaves as many multiply-accumulates as the ratio says."""
        before = entries.macs(entries.cost.sizes)
        target = int((1 - (self.ratio or 0.0)) * before)
        choice = chosen(entries.macs, target)
        if entries.macs(choice.kept) > target:
            share = entries.macs(choice.kept) / before
            entries.ctx.skip("the model", f"its narrowest form keeps {share:.0%} of the MACs")
        return choice

    def _by_clock(self, clock: Clock, cost: LatencyCost, widths: Widths, step: int, chosen: Choose) -> tuple[Cut, ...]:
        """The cuts that leave as much of the original's time as the latency says; none where that gains nothing."""
        ctx, share = clock.ctx, self.latency or 1.0
        found = clock.within(share, cost, widths, step, chosen)
        ctx.notes["latency"] = {
            "asked": share,
            "measured": round(found.share, 3),
            "predicted_and_measured": found.tried,
        }
        if found.share >= 1:
            ctx.skip("the model", "no widths that were tried make it faster")
            return ()
        if found.share > share * (1 + TOLERANCE):
            ctx.skip("the model", f"the fastest form that was found takes {found.share:.0%} of the time")
        groups = clock.groups
        times = [by_group(cost, groups, kept) for kept in (widths.sizes, found.choice.kept)]
        return _noted(ctx, found.choice, list(zip(*times, strict=True)))

    def _scores(self, group: Group, slices: Sequence[Slices], ctx: Context, rng: np.random.Generator) -> np.ndarray:
        """What each channel of the group is worth."""
        by_energy = self.criterion in ORDERINGS
        scores = CRITERIA["energy" if by_energy else self.criterion](slices, rng)
        if scores is None and not by_energy:
            ctx.skip(group.label, f"criterion {self.criterion} has nothing to go by; energy decides")
            scores = CRITERIA["energy"](slices, rng)
        return np.zeros(group.size) if scores is None else scores


def _noted(ctx: Context, choice: Choice, times: Sequence[tuple[float, float]] = ()) -> tuple[Cut, ...]:
    """The cuts of a choice; which widths it takes, what they lose and what time they save goes into the report."""
    groups = ctx.get(ChannelGroups)
    rows = []
    for i, (group, kept) in enumerate(zip(groups.prunable, choice.kept.tolist())):
        if kept == group.size:
            continue
        channels = group.multiplicity
        row: dict[str, Any] = {"layer": group.label, "before": group.size * channels, "after": kept * channels}
        if choice.losses is not None:
            row["loss"] = float(f"{choice.losses[i]:.3g}")
        if times:
            row["ms_before"], row["ms_after"] = (float(f"{ms:.3g}") for ms in times[i])
        rows.append(row)
    ctx.notes |= {"step": choice.step} | ({"widths": rows} if rows else {})
    return cuts_of(groups, choice.orders, choice.kept)


def _explain(groups: ChannelGroups, ctx: Context) -> None:
    """Why nothing can be removed, once for each reason."""
    reasons = {group.why_fixed or "all of it goes together": group.label for group in groups.groups}
    for why, label in reasons.items():
        ctx.skip(label, why)
    if not reasons:
        ctx.skip("the model", "no layer has channels")


def _ordered(loss: np.ndarray | None, order: np.ndarray) -> np.ndarray:
    return np.zeros(len(order)) if loss is None else loss[order]


def _kept_anyway(group: Group, ctx: Context) -> int:
    """Sets that the user wants kept in this group, or -1."""
    if any(is_read_by(place.node.inputs[place.slot], ctx.is_excluded) for place, _ in group.places):
        ctx.skip(group.label, "a layer that it touches is excluded")
        return group.size
    ratios = [ctx.override(layer)["ratio"] for layer in group.producers if "ratio" in ctx.override(layer)]
    if not ratios:
        return -1
    return max(1, int((1 - float(min(ratios))) * group.size + 0.5))


def _sample_shapes(ctx: Context) -> dict[str, tuple[int, ...]]:
    """Shapes of one sample, for layers whose size hangs on the input's."""
    return {name: array.shape for name, array in next(ctx.data.batches(1)).items()}
