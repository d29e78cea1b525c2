"""Prune whole residual branches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx_compress.compiler.analysis.cost import node_macs
from onnx_compress.compiler.analysis.residuals import Residual, Residuals
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, Saving, option
from onnx_compress.compiler.pipeline.context import MISSED, Context
from onnx_compress.compiler.repair import refit, refit_data
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.compiler.runtime.shapes.inference import infer
from onnx_compress.passes.prune._branches.branches import BranchMean, obstacle
from onnx_compress.passes.prune._branches.depth import Trials, choose
from onnx_compress.passes.prune._criteria.statistics import measure

MOST = 0.95
"""The largest share of MACs that can be requested."""


@dataclass(frozen=True, kw_only=True)
class PruneBlocks(Pass):
    """Remove whole residual branches: y = x + F(x) becomes y = x.

    F may contain anything, including squeeze-and-excitation and attention, provided that it is computed from x,
    nothing else needs any part of it, and x and y have the same shape; it may also read values that do not depend
    on x, such as a mask. What follows the addition, such as an activation, stays; relu(relu(·)) becomes one relu.

    `ratio` is the share of the model's multiply-accumulates to remove. Branches are chosen by their loss, measured
    at the model's outputs after the changed layers are refitted on a few samples: the loss before that repair says
    little about the loss after it. The branch with the least loss per multiply-accumulate is removed first; then
    the remaining ones are measured again, since losses don't add up. Finally all changed layers are solved by least
    squares against the original's activations, as in the pass refit (`refit`). If nothing else reads x, the layer
    that computes x targets the former x + F(x), if that measures better than targeting x.

    The mean output of F is added to a bias in front of x if that is equivalent (`fold`). Otherwise, with an
    activation in between or x read elsewhere, it is added in place of F: if F was constant, or, without the refit,
    which finds such shifts itself, if that measures better. It is not added to the biases of the layers that read
    y: with zero padding that would be wrong at the edges.

    Without calibration data losses are measured on synthetic inputs, without repair. In a recipe `ratio` = 0 for a
    layer keeps its branch.

    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016 (arXiv:1603.09382): such networks work without
    some of their branches; Wen et al., "Learning Structured Sparsity in Deep Neural Networks", NIPS 2016
    (arXiv:1608.03665): depth pruning; He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV
    2017 (arXiv:1707.06168): the target of the layer before.

    Time falls with the multiply-accumulates, since the remaining layers keep their widths; removing channels often
    saves no time, because kernels compute whole blocks of them.

    The wrong choice for small ratios: a branch is removed as a whole, so more may be removed than requested.
    """

    name = "prune-blocks"
    effect = Effect.LOSSY
    strength = "ratio"
    saving = Saving.TIME
    per_layer = ("ratio",)

    ratio: float | None = option(None, "share of MACs to remove; none: as far as the budget allows", low=0.0, high=MOST)
    fold: bool = option(True, "keep the mean output of removed branches, in a bias where possible")
    refit: bool = option(True, "refit all changed layers, if there is calibration data")

    def ladder(self, model: Model, ctx: Context) -> Sequence[float]:
        """The shares of MACs that the n smallest branches have together, n = 1, 2, …."""
        blocks = _candidates(model, ctx)
        trials = self._trials(model, ctx, blocks)
        if not trials.total:
            return ()
        shares = np.sort([1 - trials.left(frozenset([i])) / trials.total for i in range(len(blocks))])
        ratios = np.floor(100 * np.cumsum(shares)) / 100
        return [float(ratio) for ratio in dict.fromkeys(ratios) if 0 < ratio <= MOST]

    def run(self, model: Model, ctx: Context) -> int:
        """Remove branches; returns their number."""
        if self.ratio is None:
            ctx.skip(self.name, "its ratio is open and there is no budget to choose it: set one of them")
            return 0
        blocks = _candidates(model, ctx)
        if not blocks:
            return 0
        trials = self._trials(model, ctx, blocks)
        if not trials.total:
            ctx.skip("the model", "its multiply-accumulates are unknown")
            return 0
        target = int((1 - self.ratio) * trials.total)
        gone = choose(trials, target)
        left = trials.left(gone)
        if left > target + MISSED * trials.total:
            removed = 1 - left / trials.total
            ctx.miss(f"removing all removable branches saves {removed:.0%} of the MACs, {self.ratio:.0%} requested")
        ctx.notes["branches"] = _table(trials, gone)
        if not ctx.data.real:
            ctx.notes["losses"] = "measured on synthetic inputs"
        if not gone:
            return 0
        trials.take_out(None, gone, plain=trials.is_plain(gone))
        if trials.repaired:
            ctx.notes["refit"] = _refitted(model, ctx)
        return len(gone)

    def _trials(self, model: Model, ctx: Context, blocks: Sequence[Residual]) -> Trials:
        sample = {name: array.shape for name, array in next(ctx.data.batches(1)).items()}
        is_repaired = self.refit and ctx.data.real
        means = _means(blocks, model, ctx, only_constant=is_repaired or not ctx.data.real) if self.fold else {}
        return Trials(model, blocks, [means.get(b) for b in blocks], node_macs(model, sample), is_repaired, ctx)


def _refitted(model: Model, ctx: Context) -> int:
    def choice(node: Node) -> bool:
        return not ctx.is_excluded(node)

    data = refit_data(model, ctx.data, ctx.effort, ctx.seed)
    return refit(model, ctx.original, data, ctx.rng, layers=choice, effort=ctx.effort, progress=ctx.progress).changed


def _candidates(model: Model, ctx: Context) -> list[Residual]:
    """The removable branches; the others are reported with the reason."""
    found = ctx.get(Residuals)
    adds = [block.add for block in found.branches] + [node for node, _ in found.refused]
    names = {value.name for add in adds for value in (*add.inputs, add.outputs[0])}
    shapes = {name: array.shape for name, array in _one_run(model, sorted(names), ctx).items()} if names else {}
    for add, why in found.refused:
        if all(shapes[term.name] == shapes[add.outputs[0].name] for term in add.inputs):  # else a mask or the like
            ctx.skip(add, why)
    if not found.branches and not ctx.skips:
        ctx.skip("the model", "it has no residual branch")
    candidates = []
    for block in found.branches:
        reason = _kept_anyway(block, ctx) or obstacle(model, block)
        if reason is None and shapes[block.shortcut.name] != shapes[block.add.outputs[0].name]:
            reason = f"it broadcasts '{block.shortcut.name}' to a larger shape"
        if reason is None:
            candidates.append(block)
        else:
            ctx.skip(block.add, reason)
    return candidates


def _kept_anyway(block: Residual, ctx: Context) -> str | None:
    nodes = (*block.nodes, block.add)
    excluded = next((node for node in nodes if ctx.is_excluded(node)), None)
    if excluded is not None:
        return f"{excluded.label()} in its branch is excluded"
    is_kept = any(ctx.override(node).get("ratio") == 0 for node in nodes)
    return "the recipe keeps its branch" if is_kept else None


def _one_run(model: Model, names: Sequence[str], ctx: Context) -> Mapping[str, np.ndarray]:
    """These values for two samples at once if the model's batch allows, so that values shared by all samples show."""
    return next(Capture(model, names).batches(ctx.data.take(2)))


def _means(
    blocks: Sequence[Residual], model: Model, ctx: Context, *, only_constant: bool
) -> dict[Residual, BranchMean]:
    """The mean outputs of branches; `only_constant`: only of branches whose output never changes."""
    inferred = infer(model)
    axes: dict[str, tuple[Residual, int]] = {}
    for block in blocks:
        shape = inferred.shape(block.result.name)
        axis = None if shape is None else _channel_axis(block.result, len(shape))
        if shape is not None and axis is not None and isinstance(shape[axis], int):
            axes[block.result.name] = block, axis
    means = {}
    arrays = _one_run(model, list(axes), ctx) if axes else {}
    found = measure(model, {name: axis for name, (_, axis) in axes.items()}, ctx)
    for name, (block, axis) in axes.items():
        rank, is_constant = arrays[name].ndim, bool(found[name].is_constant.all())
        if is_constant or not only_constant:
            means[block] = BranchMean(found[name].mean, axis - rank, rank, arrays[name].dtype, is_constant)
    return means


def _channel_axis(value: Tensor, rank: int) -> int | None:
    """The axis of the channels, known from the operator that computes the value; element-wise operators keep it."""
    while value.inputs:
        node = value.inputs[0]
        if node.is_op("Transpose"):
            order = node.attrs.get("perm", tuple(range(rank))[::-1])
            inner = _channel_axis(node.inputs[0], rank)
            return None if inner is None else order.index(inner)
        axis = ops.of(node).channel_axis
        if axis is not None:
            return axis % rank if axis < rank else None
        value = next((term for term in node.inputs if isinstance(term, Variable) and term.name), node.inputs[0])
    return None


def _table(trials: Trials, gone: Collection[int]) -> list[dict[str, Any]]:
    """For each branch, named by its last layer: its share of the MACs, its loss alone, and whether it was removed."""
    rows = []
    for i, block in enumerate(trials.blocks):
        share = 1 - trials.left(frozenset([i])) / trials.total
        loss = trials.alone(i)
        rounded = None if loss is None else float(f"{loss:.4g}")
        rows.append({"branch": block.label, "macs": round(share, 4), "loss": rounded, "removed": i in gone})
    return rows
