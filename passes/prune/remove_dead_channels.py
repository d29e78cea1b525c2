"""Remove the channels that can't affect the outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.contractions import contractions
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.surgery.channel_removal import Removal, apply
from onnx_compress.passes.prune._constants.biases import add
from onnx_compress.passes.prune._constants.dead_channels import Dead, find_dead
from onnx_compress.passes.prune._gather.inputs import gather_inputs


@dataclass(frozen=True, kw_only=True)
class RemoveDeadChannels(Pass):
    """Remove the channels that can't affect the outputs, and everything coupled to them.

    Given Y = W₂ · f(W₁ · X + b₁) + b₂, channel i is removed if it is

    ==============  =====================================================================================
    unread          no path of non-zero weights leads from it to an output
    constant        it has the same value c for every input, because its row of W₁ is zero (c = f(b₁)) or a
                    normalization multiplies it by 0: b₂ becomes b₂ + W₂[:, i] · c
    ==============  =====================================================================================

    This repeats until no such channel is left. Pruning of single weights leaves many of both kinds: of the LeNets
    of Dynamic Network Surgery (Guo et al., NIPS 2016, arXiv:1608.04493) 784-300-100-10 becomes 784-62-18-10 and
    20-50-500 becomes 8-19-57. Constants are propagated through element-wise operators, normalizations, pools and
    layout changes.

    A non-zero constant stays if the layer that reads it pads with zeros: it contributes less at the edges. Every
    layer keeps at least one channel. Inputs of the graph stay, and so do channels for which one reader has no
    weights but which others need; with `inputs` a Gather in front of that reader drops them, which makes the file
    smaller and costs a copy at run time.
    """

    name = "remove-dead-channels"
    effect = Effect.EXACT

    inputs: bool = option(False, "drop the inputs that a layer has no weights for, by a Gather in front of it")

    def run(self, model: Model, ctx: Context) -> int:
        """Remove dead channels until none is left; returns the number of changed groups."""
        changed, earlier, before = 0, len(ctx.skips), _widths(model, ctx)
        while found := self._round(model, ctx):
            changed += found
            edit.sweep(model)
            del ctx.skips[earlier:]  # only the last round's refusals hold for the result
        ctx.skips[earlier:] = dict.fromkeys(ctx.skips[earlier:])
        after = _widths(model, ctx) if changed else before
        both = {name: [width, after[name]] for name, width in before.items() if name in after}
        ctx.notes["widths"] = {name: widths for name, widths in both.items() if widths[0] != widths[1]}
        return changed

    def _round(self, model: Model, ctx: Context) -> int:
        for groups in _each_cut(model, ctx):
            dead = find_dead(model, ctx, groups)
            if dead.cuts:
                _remove(model, groups, dead)
                return len(dead.cuts)
        return gather_inputs(model, ctx, contractions(model, ctx.get(ChannelGroups).walk)) if self.inputs else 0


def _widths(model: Model, ctx: Context) -> dict[str, int]:
    """The number of output channels of each layer."""
    layers = contractions(model, ctx.get(ChannelGroups).walk)
    return {layer.node.label(): layer.size[0] for layer in layers}


def _each_cut(model: Model, ctx: Context) -> Iterator[ChannelGroups]:
    """The groups, then those along the other factors of split axes: whole heads, then the same part of all heads."""
    groups = ctx.get(ChannelGroups)
    yield groups
    crossings = groups.walk.crossings
    for way in range(max((sum(size > 1 for size in crossing.sizes) for crossing in crossings), default=0)):
        cuts = {crossing.node: way for crossing in crossings}
        if any(groups.cuts.get(node, 0) != cut for node, cut in cuts.items()):
            yield ChannelGroups.with_cuts(model, cuts)


def _remove(model: Model, groups: ChannelGroups, dead: Dead) -> None:
    apply(model, Removal.of(groups, dead.cuts))
    for layer, shift in dead.shifts.items():
        add(model, layer, shift)
