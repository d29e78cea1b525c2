"""Remove weights of all layers, front to back, each layer solved for the outputs of the sparse layers before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import refit, refit_data
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, Product
from onnx_compress.compiler.repair.refitting import Sums
from onnx_compress.passes.sparsify._curves import Part
from onnx_compress.passes.sparsify._rounds import descend, held, schedule


@dataclass(frozen=True)
class Goal:
    """The number of weights that a part keeps."""

    part: Part
    count: int


def sparsify(model: Model, goals: Sequence[Goal], rounds: int, ctx: Context) -> None:
    """Remove weights. With real data they are chosen in `rounds`, and all changed layers are re-solved."""
    found = model.clone()
    for goal in goals:
        if goal.part.layer is None:
            drop(model, goal)
    if ctx.data.real:
        solve(model, found, [goal for goal in goals if goal.part.layer is not None], rounds, ctx)
    for goal in goals:
        drop(model, goal)


def solve(model: Model, found: Model, goals: Sequence[Goal], rounds: int, ctx: Context) -> None:
    """Remove the weights of layers round by round, and refit everything that differs from `found`."""
    rounds = ctx.effort.rounds_of(rounds)
    by_node = {goal.part.layer.node: goal for goal in goals if goal.part.layer is not None}

    def change(layer: LinearLayer, sums: Sums) -> tuple[np.ndarray, np.ndarray] | None:
        goal = by_node.get(layer.node)
        together = sums.fit + sums.check
        if goal is None or not isinstance(layer, (Convolution, Product)) or not together.is_finite:
            return None
        weights = layer.weights()
        steps = schedule(int(np.count_nonzero(weights)), goal.count, rounds)
        free = held(layer, rounds * len(by_node))
        return list(descend(together, weights, layer.shift(), steps, goal.part.method, free))[-1]

    report = refit(
        model,
        found,
        refit_data(model, ctx.data, ctx.effort, ctx.seed),
        ctx.rng,
        is_found=True,
        effort=ctx.effort,
        layers=lambda node: not ctx.is_excluded(node),
        progress=ctx.progress,
        touched=lambda node: node in by_node,
        change=change,
    )
    ctx.notes["refit"] = report.changed


def drop(model: Model, goal: Goal) -> None:
    """Keep the weights of highest magnitude: all remaining ones if they have been chosen already."""
    weights, method = goal.part.weight.matrices(), goal.part.method
    alive = weights != 0
    kept = alive
    if int(alive.sum()) > goal.count:
        kept = method.pattern.kept(np.square(weights), alive, method.channels, goal.count)
    goal.part.weight.clear(model, kept)
