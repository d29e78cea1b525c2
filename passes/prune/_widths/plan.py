"""Plan which channels of which groups are removed: by multiply-accumulates, or by measured time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.latency_cost import LatencyCost, by_group
from onnx_compress.compiler.analysis.channels.width_cost import WidthCost
from onnx_compress.compiler.analysis.weight_readers import is_read_by
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import MISSED, Context
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal
from onnx_compress.passes.prune._criteria.lasso import lasso
from onnx_compress.passes.prune._criteria.obs import Ordering, obs
from onnx_compress.passes.prune._criteria.slices import Statistics, read_values, slices_of
from onnx_compress.passes.prune._criteria.statistics import measure, values_of
from onnx_compress.passes.prune._criteria.weight_scores import CRITERIA, Slices
from onnx_compress.passes.prune._gather.entries import Entries, Gather
from onnx_compress.passes.prune._widths.measured import Measured
from onnx_compress.passes.prune._widths.timed import TOLERANCE, Clock, cuts_of
from onnx_compress.passes.prune._widths.widths import Choice, Macs, Widths, choose

ORDERINGS: dict[str, Ordering] = {"obs": obs, "lasso": lasso}
"""Criteria that need calibration data; without data energy decides."""

SEARCHED_WIDTHS = 3
"""Widths of each group that a search chooses from: as many as it times, since times between them are only guesses."""


class PlanOptions(Protocol):
    """The options of prune-channels that a plan depends on."""

    @property
    def ratio(self) -> float | None: ...
    @property
    def latency(self) -> float | None: ...
    @property
    def criterion(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def round(self) -> int: ...
    @property
    def gather(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class Planner:
    """Plans the removal of channels of `model` according to the `options`.

    `entries` are the layers that may gather their inputs, `statistics` the mean and variance of what layers read.
    """

    options: PlanOptions
    model: Model
    ctx: Context
    entries: Entries
    statistics: Statistics

    @classmethod
    def of(cls, options: PlanOptions, model: Model, ctx: Context) -> Planner:
        """Measure what every plan needs."""
        entries = _entries(options, model, ctx)
        read = read_values(entries.among(ctx.get(ChannelGroups)), values_of(model))
        return cls(options, model, ctx, entries, measure(model, read, ctx))

    @cached_property
    def groups(self) -> ChannelGroups:
        """The groups of the unchanged model."""
        return self.ctx.get(ChannelGroups)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the unchanged model."""
        return self.entries.cost.macs(self.entries.cost.sizes)

    @cached_property
    def step(self) -> int:
        """Widths are multiples of this many channels."""
        return self.options.round or self.ctx.judge.channel_step()

    @cached_property
    def _slices(self) -> list[list[Slices]]:
        every = self.entries.among(self.groups)
        return [slices_of(group, self.groups.sets.roots, self.statistics) for group in every.groups]

    @cached_property
    def scores(self) -> list[np.ndarray]:
        """The importance of each set of each group."""
        every, rng = self.entries.among(self.groups), self.ctx.rng
        return [self._scored(group, slices, rng) for group, slices in zip(every.groups, self._slices)]

    def _scored(self, group: Group, slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray:
        by_energy = self.options.criterion in ORDERINGS
        scores = CRITERIA["energy" if by_energy else self.options.criterion](slices, rng)
        if scores is None and not by_energy:
            self.ctx.skip(group.label, f"criterion {self.options.criterion} has no weights to look at; energy decides")
            scores = CRITERIA["energy"](slices, rng)
        return np.zeros(group.size) if scores is None else scores

    @cached_property
    def widths(self) -> Widths:
        """The numbers of sets that each group can keep, and the losses for the choice without data."""
        cost, rng = self.entries.cost, self.ctx.rng
        losses = [CRITERIA["energy"](slices, rng) for slices in self._slices[: len(cost.groups)]]
        return Widths(
            sizes=cost.sizes,
            multiplicity=np.array([group.multiplicity for group in cost.groups], np.int64),
            fixed=np.array([_kept_anyway(group, self.ctx) for group in cost.groups], np.int64),
            losses=[_ordered(loss, np.argsort(score, kind="stable")) for loss, score in zip(losses, self.scores)],
            most=None if self.ctx.finish is None else SEARCHED_WIDTHS,
        )

    def chosen(self, costs: Macs, target: float) -> Choice:
        """The sets to keep in each group so that the cost is at most `target`."""
        options = self.options
        if not self.ctx.data.real:
            orders = [np.argsort(score, kind="stable") for score in self.scores]
            return Choice(orders, *choose(self.widths, costs, target, self.step, options.scope))
        ordering = ORDERINGS.get(options.criterion)
        measured = Measured(self.model, self.entries, self.scores, ordering, self.ctx, self.macs)
        return measured.choose(self.widths, costs, target, self.step, options.scope)

    def plan(self) -> tuple[tuple[Cut, ...], tuple[Gather, ...]]:
        """The channels to remove from each group, and the layers that read only some of their inputs."""
        if self.options.latency is not None:
            return self._by_clock(self.options.latency), ()
        choice = self._by_macs(self.options.ratio or 0.0)
        cuts = _noted(self.ctx, choice)
        return cuts, self.entries.gathers(Removal.of(self.groups, cuts), choice.orders, choice.kept)

    def _by_macs(self, ratio: float) -> Choice:
        """The choice that removes this share of the multiply-accumulates."""
        before = self.entries.macs(self.entries.cost.sizes)
        choice = self.chosen(self.entries.macs, int((1 - ratio) * before))
        removed = 1 - self.entries.macs(choice.kept) / max(1, before)
        if removed < ratio - MISSED:
            self.ctx.miss(f"the narrowest widths save {removed:.0%} of the MACs, {ratio:.0%} requested")
        return choice

    def _by_clock(self, share: float) -> tuple[Cut, ...]:
        """The cuts that leave this share of the time; none if nothing gets faster."""
        clock = Clock(self.model, self.groups, self.ctx)
        cost = clock.cost(self.widths, self.step, self.macs)
        if self.ctx.finish is not None:  # in a search, which measures the whole pipeline's time itself
            return self._timed(cost, self.chosen(cost.ms, share * cost.ms(self.widths.sizes)))
        found = clock.within(share, cost, self.widths, self.step, self.chosen)
        measured = round(found.share, 3)
        self.ctx.notes["latency"] = {"asked": share, "measured": measured, "predicted_and_measured": found.tried}
        if found.share >= 1:
            self.ctx.miss(f"none of the tried widths is faster, {share:.0%} of the time requested")
            return ()
        if found.share > share * (1 + TOLERANCE) and found.share > share + MISSED:
            self.ctx.miss(f"the fastest widths found take {found.share:.0%} of the time, {share:.0%} requested")
        return self._timed(cost, found.choice)

    def shares(self) -> tuple[float, float]:
        """The shares of its time that the model takes at half of all widths, and at the narrowest ones."""
        cost = Clock(self.model, self.groups, self.ctx).cost(self.widths, self.step, self.macs)
        full, least = self.widths.full(), self.widths.narrowest(self.step)
        half = np.where(self.widths.fixed >= 0, full, np.maximum(full // 2, least))
        return cost.ms(half) / cost.ms(full), cost.ms(least) / cost.ms(full)

    def _timed(self, cost: LatencyCost, choice: Choice) -> tuple[Cut, ...]:
        times = [by_group(cost, self.groups, kept) for kept in (self.widths.sizes, choice.kept)]
        return _noted(self.ctx, choice, list(zip(*times, strict=True)))


def _entries(options: PlanOptions, model: Model, ctx: Context) -> Entries:
    """The layers that may gather their inputs."""
    shapes = {name: array.shape for name, array in next(ctx.data.batches(1)).items()}
    cost = WidthCost(model, ctx.get(ChannelGroups), shapes)
    is_possible = ctx.data.real and options.scope == "global" and options.latency is None
    if options.gather and is_possible:
        return Entries.of(model, cost, ctx, shapes)
    if options.gather:
        ctx.skip("the model", "gather needs calibration data, scope=global and a share of MACs")
    return Entries(cost, ctx)


def _noted(ctx: Context, choice: Choice, times: Sequence[tuple[float, float]] = ()) -> tuple[Cut, ...]:
    """The cuts of a choice; its widths, losses and saved times are added to the report."""
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


def explain(groups: ChannelGroups, ctx: Context) -> None:
    """Report why nothing can be removed, once for each reason."""
    reasons = {group.why_fixed or "all of its channels are coupled": group.label for group in groups.groups}
    for why, label in reasons.items():
        ctx.skip(label, why)
    if not reasons:
        ctx.skip("the model", "no layer has channels")


def _ordered(loss: np.ndarray | None, order: np.ndarray) -> np.ndarray:
    return np.zeros(len(order)) if loss is None else loss[order]


def _kept_anyway(group: Group, ctx: Context) -> int:
    """The number of sets that the user's settings keep in this group, or -1."""
    if any(is_read_by(place.node.inputs[place.slot], ctx.is_excluded) for place, _ in group.places):
        ctx.skip(group.label, "a layer coupled to it is excluded")
        return group.size
    ratios = [ctx.override(layer)["ratio"] for layer in group.producers if "ratio" in ctx.override(layer)]
    if not ratios:
        return -1
    return max(1, int((1 - float(min(ratios))) * group.size + 0.5))
