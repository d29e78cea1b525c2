"""sparsify-weights: set weights to zero, one by one or in patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import RATIOS, Effect, Pass, option
from onnx_compress.compiler.pipeline.context import MISSED, Context
from onnx_compress.compiler.repair.behind_activation import bounds_behind
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, Product
from onnx_compress.compiler.repair.moments import recognized
from onnx_compress.compiler.repair.output_importance import importances
from onnx_compress.compiler.repair.refittable_layers import LAYERS, View
from onnx_compress.passes.sparsify._apply import Goal, sparsify
from onnx_compress.passes.sparsify._counts import counts
from onnx_compress.passes.sparsify._criteria import BY_DATA, CRITERIA
from onnx_compress.passes.sparsify._curves import Part
from onnx_compress.passes.sparsify._patterns import Pattern
from onnx_compress.passes.sparsify._rounds import Method
from onnx_compress.passes.sparsify._weights import WeightMatrix, find_weights

WITHOUT_DATA = "lamp"
"""The criterion without real samples."""


@dataclass(frozen=True, kw_only=True)
class SparsifyWeights(Pass):
    """Set weights to zero and re-solve the others.

    Given   Y = X W + b
    Result  the same graph, W with zeros, min over its support and b of ‖X W + 1 b − Y‖² + λ ‖W − W₀‖²

    The zeros are recorded with the weight: later passes keep them, and the file shrinks when they are stored as
    gaps or masks at the end. Nothing gets faster: onnxruntime computes with dense weights. For speed see
    prune-channels.

    Layers are processed front to back, X being the outputs of the layers before in the sparse model, Y the layer's
    output before the pass. In each of `rounds` rounds the least important weights are removed, geometrically down
    to the layer's number, and the others are solved for (in large layers approximately, by some steps of conjugate
    gradients): the next choice is then made among weights that have taken over from the removed ones. Finally all
    changed layers are refitted as in the pass refit, zeros staying zero, and layers with nothing but a Relu or Clip
    between them in pairs: the errors of many outputs then cancel in the layer that reads them.

    `criterion` is the importance of a weight: 'activation' w²·(XᵀX)_kk, X centred; 'obs' w²/[(XᵀX)⁻¹]_kk over the
    support of its output, the loss after the others are re-solved; both times the effect of that output's error on
    later layers, estimated from their weights; 'magnitude', 'std' and 'lamp' w². `scope` is the number of weights
    removed from each layer: 'uniform' the same share; 'global' the numbers of least loss, the error of each layer
    at several densities weighted by its effect on the model's outputs. With 'std' one threshold s·σ holds for all
    layers, σ the standard deviation of a layer's weights, with 'lamp' one for w² over Σ v², |v| ≥ |w|.

    `pattern` is the unit of removal: 'unstructured' single weights; 'KxL' blocks of K outputs by L inputs; 'shape'
    one tap of one input for all outputs; 'NofM' keeps N of each M consecutive inputs, in as many layers as
    `sparsity` needs. In Conv the inputs of one tap of the kernel are consecutive. A recipe may set `sparsity` and
    `pattern` for single layers.

    Conv, ConvTranspose, Gemm and MatMul are solved for; weights of LSTM, GRU and RNN, embeddings, shared weights,
    weights with a codebook and weights in bodies of If, Loop and Scan lose their smallest elements. Without real
    samples nothing is solved for, and LAMP replaces the criteria that need inputs.

    Han et al., "Deep Compression", ICLR 2016 (arXiv:1510.00149); Lee et al., "Layer-adaptive Sparsity for the
    Magnitude-based Pruning", ICLR 2021 (arXiv:2010.07611); Sun et al., "Wanda", ICLR 2024 (arXiv:2306.11695);
    Frantar and Alistarh, "Optimal Brain Compression", NeurIPS 2022 (arXiv:2208.11580); Wen et al., "Learning
    Structured Sparsity", NIPS 2016 (arXiv:1608.03665): shapes.

    The wrong choice if latency counts, and for weights that are mostly needed: with less than about half zeros a
    file hardly shrinks.
    """

    name = "sparsify-weights"
    effect = Effect.LOSSY
    strength = "sparsity"
    strengths = (*RATIOS, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
    per_layer = ("sparsity", "pattern")

    sparsity: float | None = option(
        None, "target share of zero weights; none: as far as the budget allows", low=0.0, high=0.995
    )
    pattern: str = option(
        "unstructured", "unit of removal: unstructured, KxL (such as 8x4), shape; or of what stays: NofM (such as 2of4)"
    )
    criterion: str = option("activation", "how weights are ranked", choices=CRITERIA)
    scope: str = option(
        "global", "how much of each layer: least measured loss, or the same share", choices=("global", "uniform")
    )
    rounds: int = option(10, "rounds of removing and re-solving, with real samples", low=1, high=100)

    def __post_init__(self) -> None:
        """Reject unknown patterns."""
        super().__post_init__()
        Pattern.parse(self.pattern)

    def run(self, model: Model, ctx: Context) -> int:
        """Set weights to zero; returns the number of changed tensors."""
        if self.sparsity is None:
            ctx.skip(self.name, "its sparsity is open and there is no budget to choose it: set one of them")
            return 0
        found, sample = self._parts(model, find_weights(model, ctx.is_excluded, ctx.skip), ctx)
        if not found:
            ctx.skip("the model", "it has no weight that can be made sparse")
            return 0
        before = {id(part): part.weight.constant.values for part in found}
        chosen = counts(model, found, self.sparsity, self.scope, sample, ctx)
        goals = [Goal(part, count) for part, count in zip(found, chosen) if _is_changed(part, count)]
        if goals:
            sparsify(model, goals, self.rounds, ctx)
        self._report(found, ctx)
        return sum(not np.array_equal(before[id(part)], part.weight.constant.values) for part in found)

    def _parts(self, model: Model, weights: Sequence[WeightMatrix], ctx: Context) -> tuple[list[Part], int]:
        """The weights that can be made sparse, and the bytes of activations per sample."""
        layers: dict[Node, LinearLayer | str] = {}
        sample = 0
        if ctx.data.real:
            nodes = [w.node for w in weights if w.node.graph is model.graph and w.node.is_op(*LAYERS)]
            layers, sample = recognized(model, list(dict.fromkeys(nodes)), ctx.data)
        importance_of = importances(model, (layer for layer in layers.values() if isinstance(layer, LinearLayer)))
        found = []
        for weight in weights:
            given = ctx.override(weight.node)
            pattern = Pattern.parse(str(given.get("pattern", self.pattern)))
            obstacle = pattern.obstacle(weight.channels)
            if obstacle is not None:
                ctx.skip(weight.node, obstacle)
                continue
            layer = layers.get(weight.node)
            density = 1 - float(given["sparsity"]) if "sparsity" in given else None
            solved = layer if isinstance(layer, (Convolution, Product)) and _is_alone(layer, weight) else None
            method = Method(self._criterion(ctx), pattern, weight.channels)
            if solved is not None:
                bounds = bounds_behind(solved.result, View(model, set(), {}))
                method = replace(method, importance=importance_of.get(weight.node), bounds=bounds)
            found.append(Part(weight, solved, method, density))
        return found, sample

    def _criterion(self, ctx: Context) -> str:
        return WITHOUT_DATA if self.criterion in BY_DATA and not ctx.data.real else self.criterion

    def _report(self, found: Sequence[Part], ctx: Context) -> None:
        left = [int(np.count_nonzero(part.weight.constant.values)) for part in found]
        total = sum(part.size for part in found)
        ctx.notes["layers"] = [
            {"layer": part.weight.node.label(), "weights": part.size, "left": count} for part, count in zip(found, left)
        ]
        ctx.notes["sparsity"] = round(1 - sum(left) / max(1, total), 4)
        if self.sparsity is not None and sum(left) > (1 - self.sparsity + MISSED) * total:
            ctx.miss(f"{1 - sum(left) / total:.0%} of the weights are zero, {self.sparsity:.0%} requested")


def _is_alone(layer: LinearLayer, weight: WeightMatrix) -> bool:
    """Whether each element may take its own value."""
    return not layer.is_tied and len(weight.readers) == 1


def _is_changed(part: Part, count: int) -> bool:
    """Whether any weight is removed."""
    return count < int(np.count_nonzero(part.weight.constant.values))
