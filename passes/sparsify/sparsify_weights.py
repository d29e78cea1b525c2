"""sparsify-weights: weights set to zero, one by one or in patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import refit
from onnx_compress.compiler.repair.layers import Convolution, Layer, Product
from onnx_compress.compiler.repair.moments import recognized
from onnx_compress.compiler.repair.recognize import LAYERS
from onnx_compress.compiler.repair.sequential import Sums
from onnx_compress.passes.sparsify._allocate import Curve, allocate
from onnx_compress.passes.sparsify._criteria import BY_DATA, CRITERIA, comparable, shares
from onnx_compress.passes.sparsify._curves import Part, by_magnitude, measured
from onnx_compress.passes.sparsify._patterns import Pattern
from onnx_compress.passes.sparsify._rounds import Method, descend, schedule
from onnx_compress.passes.sparsify._weights import Weight, find_weights

REFITTED = 2048
"""Calibration samples that layers are solved for with, at most."""
WITHOUT_DATA = "lamp"
"""The criterion where there are no real samples to look at."""


@dataclass(frozen=True, kw_only=True)
class SparsifyWeights(Pass):
    """Set weights to zero and solve anew for the others.

    Given   Y = X W + b
    Result  the same graph, W with zeros that later passes keep: min ‖X W + 1 b − Y‖² over the support of W
    """

    name = "sparsify-weights"
    effect = Effect.LOSSY
    strength = "sparsity"

    sparsity: float | None = option(
        None, "share of the weights that is zero afterwards; none: as far as the budget allows", low=0.0, high=0.99
    )
    pattern: str = option("unstructured", "what goes together: unstructured, 2of4 (any NofM), 8x4 (any KxL), shape")
    criterion: str = option("activation", "what makes a weight matter", choices=CRITERIA)
    scope: str = option(
        "global", "where: what costs least, or the same share of each layer", choices=("global", "uniform")
    )
    rounds: int = option(10, "rounds of dropping and solving anew", low=1, high=100)

    def __post_init__(self) -> None:
        """Check the pattern too."""
        super().__post_init__()
        Pattern.parse(self.pattern)

    def run(self, model: Model, ctx: Context) -> int:
        """Set weights to zero; returns in how many tensors."""
        if self.sparsity is None:
            ctx.skip(self.name, "its sparsity is open: the budget decides it, and there is none here")
            return 0
        weights = find_weights(model, ctx.is_excluded, ctx.skip)
        found, sample = self._parts(model, weights, ctx)
        if not found:
            ctx.skip("the model", "it has no float weights of this pattern")
            return 0
        before = [part.weight.constant.values for part in found]
        counts = self._counts(model, found, sample, ctx)
        self._apply(model, found, counts, ctx)
        return sum(not np.array_equal(old, part.weight.constant.values) for old, part in zip(before, found))

    def _parts(self, model: Model, weights: Sequence[Weight], ctx: Context) -> tuple[list[Part], int]:
        """What can be made sparse, and how many bytes of values come of one sample."""
        layers: dict[Node, Layer | str] = {}
        sample = 0
        if ctx.data.real:
            nodes = [w.node for w in weights if w.node.graph is model.graph and w.node.is_op(*LAYERS)]
            layers, sample = recognized(model, list(dict.fromkeys(nodes)), ctx.data)
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
            is_solved = isinstance(layer, (Convolution, Product)) and len(weight.readers) == 1
            method = Method(self._criterion(ctx), pattern, weight.channels)
            found.append(Part(weight, layer if is_solved and isinstance(layer, Layer) else None, method, density))
        return found, sample

    def _criterion(self, ctx: Context) -> str:
        return WITHOUT_DATA if self.criterion in BY_DATA and not ctx.data.real else self.criterion

    def _counts(self, model: Model, found: Sequence[Part], sample: int, ctx: Context) -> list[int]:
        """How many weights each part keeps."""
        assert self.sparsity is not None
        total = int((1 - self.sparsity) * sum(part.size for part in found) + 0.5)
        open_parts = [part for part in found if part.density is None]
        if self.scope == "uniform":
            return [
                int(
                    part.counts()[-1]
                    if part.density is not None or part.method.pattern.of
                    else (1 - self.sparsity) * part.size + 0.5
                )
                for part in found
            ]
        if self._criterion(ctx) in ("std", "lamp") and not any(part.method.pattern.of for part in found):
            rest = total - sum(int(part.counts()[-1]) for part in found if part.density is not None)
            worths = [comparable(self._criterion(ctx), part.weight.matrices()) for part in open_parts]
            mine = iter(shares(worths, rest))
            return [int(next(mine)) if part.density is None else int(part.counts()[-1]) for part in found]
        curves: Sequence[Curve]
        curves = measured(model, found, sample, ctx) if ctx.data.real else [by_magnitude(part) for part in found]
        counts = allocate(curves, total)
        ctx.notes["curves"] = [(c.counts.tolist(), c.losses.tolist()) for c in curves]
        return counts

    def _apply(self, model: Model, found: Sequence[Part], counts: Sequence[int], ctx: Context) -> None:
        solved = {part.layer.node: (part, count) for part, count in zip(found, counts) if part.layer is not None}
        reached = set()

        def change(layer: Layer, sums: Sums) -> tuple[np.ndarray, np.ndarray] | None:
            if layer.node not in solved or not isinstance(layer, (Convolution, Product)):
                return None
            part, count = solved[layer.node]
            together = sums.fit + sums.check
            if not together.is_finite:
                return None
            weights, shift = layer.weights(), layer.shift()
            steps = schedule(int(np.count_nonzero(weights)), count, self.rounds)
            for weights, shift in descend(together, weights, shift, steps, part.method, layer.bias is not None):
                pass
            reached.add(layer.node)
            return weights, shift

        for part, count in zip(found, counts):
            if part.layer is None:
                _drop(model, part, count)
        if ctx.data.real:
            allowed = partial(_is_free, ctx)
            report = refit(
                model,
                ctx.original,
                ctx.data.take(REFITTED),
                ctx.rng,
                layers=allowed,
                progress=ctx.progress,
                touched=lambda node: node in solved,
                change=change,
            )
            ctx.notes["refit"] = report.changed
        for part, count in zip(found, counts):
            _drop(model, part, count)
        ctx.notes["layers"] = [
            {"layer": part.weight.node.label(), "weights": part.size, "left": int(count)}
            for part, count in zip(found, counts)
        ]


def _drop(model: Model, part: Part, count: int) -> None:
    """Keep so many weights of highest magnitude: all that are left where they have been chosen already."""
    weights = part.weight.matrices()
    kept = part.method.pattern.kept(np.square(weights), weights != 0, part.method.channels, count)
    part.weight.clear(model, kept)


def _is_free(ctx: Context, node: Node) -> bool:
    return not ctx.is_excluded(node)
