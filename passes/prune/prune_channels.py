"""Prune whole channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import RATIOS, Effect, Pass, Saving, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import refit, refit_data
from onnx_compress.compiler.runtime.timing.latency import is_faster
from onnx_compress.compiler.surgery.channel_removal import Removal, apply
from onnx_compress.passes.prune._constants.means import add_to_biases, readers, shifts
from onnx_compress.passes.prune._criteria.weight_scores import CRITERIA
from onnx_compress.passes.prune._gather.entries import insert, with_gathers
from onnx_compress.passes.prune._widths.plan import ORDERINGS, Planner, explain

SHARES = (0.03, 0.06, *RATIOS[1:])
"""Shares of the time that a search tries to save."""


@dataclass(frozen=True, kw_only=True)
class PruneChannels(Pass):
    """Remove whole channels, and everything coupled to them.

    Given Y = W₂ · f(W₁ · X), rows `gone` of W₁ and columns `gone` of W₂ are removed, and index `gone` of everything
    coupled to them: biases, normalizations, added shortcuts, concatenations, groups, heads, states of recurrent
    layers. `ChannelGroups` finds the coupled channels; the graph stays the same, only narrower. The mean output of
    the removed channels is added to the biases of the layers that read them (`fold`).

    `criterion` ranks the channels of a group: 'obs' first removes those whose removal costs least after the layers
    that read them are re-solved, 'lasso' those whose factors are the first to become zero in a LASSO on the outputs
    of these layers, the others those with the lowest scores. `ratio` is the share of the model's
    multiply-accumulates to remove; `scope` distributes it: 'uniform' keeps the same share everywhere; 'global'
    chooses the widths of least loss, measured at the model's outputs for each group and width, with only that group
    pruned and the layers that read it re-solved. Finally all changed layers are solved by least squares against the
    original's activations, as in the pass refit (`refit`).

    With `gather`, the first layer of a residual branch may read fewer channels than the shortcut has: a Gather in
    front of the layer picks them. Their number is chosen together with the widths, among those for which a
    convolution behind a Gather measures faster. That removes more than the channels that all readers can spare, and
    costs one node per such layer.

    All this needs calibration data. Without it, the energy of channels replaces 'obs' and 'lasso', 'global' narrows
    step by step the group that loses the least energy for what it saves, and nothing is re-solved.

    With `latency` the target is time instead: the remaining share of the original's time, on this machine. The
    model runs in up to 49 variants of different widths, and each layer is timed in place. Widths are chosen by the
    layers' times; then the whole model is timed, and the choice is corrected by the difference.

    Widths are multiples of `round`; in groups narrower than four times that, and if the ratio can't be met
    otherwise, of a half, a quarter, … of it. A recipe may set `ratio` for single layers: the share of this layer's
    own channels to remove, independent of the rest.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (arXiv:1608.08710); Fang et al., "DepGraph:
    Towards Any Structural Pruning", CVPR 2023 (arXiv:2301.12900); Frantar and Alistarh, "Optimal Brain
    Compression", NeurIPS 2022 (arXiv:2208.11580); He et al., "Channel Pruning for Accelerating Very Deep Neural
    Networks", ICCV 2017 (arXiv:1707.06168).

    The wrong choice for models without redundancy (slim mobile nets quickly lose points without retraining), and if
    only the file size matters: clustering costs less accuracy.
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
        None, "instead of ratio: the target time, as a share of the original's", low=0.05, high=1.0
    )
    criterion: str = option("obs", "how channels are ranked", choices=(*ORDERINGS, *CRITERIA))
    scope: str = option("global", "widths by least measured loss, or the same share", choices=("global", "uniform"))
    round: int = option(0, "widths are multiples of this; 0: the CPU's channel block (16 on AVX-512)", low=0, high=256)
    fold: bool = option(True, "add the mean output of removed channels to the biases of their readers")
    gather: bool = option(False, "let the first layer of a residual branch gather fewer inputs, where that is faster")
    refit: bool = option(True, "refit all changed layers, if there is calibration data")

    def at(self, value: float, *, saving: Saving) -> PruneChannels:
        """In a search for time the value is the share of time to remove, since MACs predict time poorly."""
        if saving is Saving.TIME:
            return self.with_options(latency=round(1 - value, 2))
        return self.with_options(ratio=value)

    def ladder(self, model: Model, ctx: Context) -> Sequence[float]:
        """In a search for time the shares that widths can reach; none where layers of half the width are no faster."""
        groups = ctx.get(ChannelGroups)
        if ctx.finish is None or not groups.prunable:
            return self.strengths if groups.prunable else ()
        half, least = Planner.of(self.with_options(latency=1.0), model, ctx).shares()
        if not is_faster(half, 1.0):
            ctx.skip("the model", f"with half of all channels it takes {half:.0%} of the time: narrower is not faster")
            return ()
        return [value for value in SHARES if 1 - value >= least]

    def run(self, model: Model, ctx: Context) -> int:
        """Remove channels; returns the number of narrowed groups plus the number of layers that gather their inputs."""
        if self.is_open():
            ctx.skip(self.name, "its ratio is open and there is no budget to choose it: set one of them")
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
        """Refit all changed layers."""
        data = refit_data(model, ctx.data, ctx.effort, ctx.seed)
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
