"""Removal of whole channels."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, Saving, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import refit, sample_count
from onnx_compress.compiler.surgery.channel_removal import Removal, apply
from onnx_compress.passes.prune._constants.means import add_to_biases, readers, shifts
from onnx_compress.passes.prune._criteria.weight_scores import CRITERIA
from onnx_compress.passes.prune._gather.entries import insert, with_gathers
from onnx_compress.passes.prune._widths.plan import ORDERINGS, Planner, explain

REFITTED = 2048
"""Calibration samples that the refit uses, or more where they are small."""


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
    saving = Saving.TIME
    companions = ("prune-blocks",)
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

    def at(self, value: float, *, saving: Saving) -> PruneChannels:
        """In a search for time the value is the share of time to remove, since MACs say little about that."""
        if saving is Saving.TIME:
            return self.with_options(latency=round(1 - value, 2))
        return self.with_options(ratio=value)

    def run(self, model: Model, ctx: Context) -> int:
        """Remove channels; returns of how many groups, and how many layers gather their inputs."""
        if self.is_open():
            ctx.skip(self.name, "its ratio is open: the budget decides it, and there is none here")
            return 0
        groups = ctx.get(ChannelGroups)
        if not groups.prunable:
            explain(groups, ctx)
            return 0
        planner = Planner.of(self, model, ctx)
        cuts, gathers = planner.plan()
        if not cuts and not gathers:
            return 0
        removal = with_gathers(Removal.of(groups, cuts), gathers)
        lost = shifts(readers(model, removal), planner.statistics, only_constant=not ctx.data.real) if self.fold else []
        apply(model, removal)
        add_to_biases(model, lost)
        insert(model, gathers)
        if self.refit and ctx.data.real:
            self._refit(model, ctx)
        return len(cuts) + len(gathers)

    def _refit(self, model: Model, ctx: Context) -> None:
        """Solve again for all layers that changed."""
        data = ctx.data.take(ctx.effort.at_most(sample_count(model, ctx.data, REFITTED)))
        report = refit(
            model,
            ctx.original,
            data,
            ctx.rng,
            layers=lambda node: not ctx.is_excluded(node),
            effort=ctx.effort,
            progress=ctx.progress,
        )
        ctx.notes["refit"] = report.changed
