"""The pass that runs first in every pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.fold_batchnorm import fold_batchnorm
from onnx_compress.passes.simplify._rules.fold_constants import fold_constants
from onnx_compress.passes.simplify._rules.fold_pads import fold_pads
from onnx_compress.passes.simplify._rules.fold_scales import fold_scales
from onnx_compress.passes.simplify._rules.fold_shapes import fold_shapes
from onnx_compress.passes.simplify._rules.fuse_gemm import fuse_gemm
from onnx_compress.passes.simplify._rules.inline_branches import inline_branches
from onnx_compress.passes.simplify._rules.inline_constant_nodes import inline_constant_nodes
from onnx_compress.passes.simplify._rules.merge_chains import merge_chains
from onnx_compress.passes.simplify._rules.merge_slices import merge_slices
from onnx_compress.passes.simplify._rules.remove_identities import remove_identities
from onnx_compress.passes.simplify._rules.rule import Rule
from onnx_compress.passes.simplify._rules.share_duplicates import share_duplicates
from onnx_compress.passes.simplify._rules.sink_transposes import sink_transposes

RULES: tuple[Rule, ...] = (
    inline_constant_nodes,
    remove_identities,
    inline_branches,
    fold_shapes,
    fold_constants,
    merge_chains,
    merge_slices,
    sink_transposes,
    share_duplicates,
    fold_batchnorm,
    fold_scales,
    fold_pads,
    fuse_gemm,
)

MOST_IDLE = 16
"""Rounds in a row that may change the graph without leaving fewer nodes; no chain of rewrites needs as many."""


@dataclass(frozen=True, kw_only=True)
class Simplify(Pass):
    """Leave only the nodes that the outputs need, and as few of them as compute the same numbers.

    ::

        x ─ Conv ─ BatchNormalization ─ Identity ─ Relu ─ y     →     x ─ Conv ─ Relu ─ y
        Reshape(x, Concat(Gather(Shape(x), 0), [64]))           →     Reshape(x, [0, 64])

    ======================  ============================================================================
    constants               computed at compile time, unless that makes the file grow; Constant nodes become
                            initializers; an If with a constant condition becomes its branch
    shapes                  computed as far as dimensions are fixed; dynamic ones stay dynamic, with their names
    layers                  BatchNormalization, and scales and biases spelt out, go into the Conv, ConvTranspose,
                            Gemm or MatMul before them; a Pad into the Conv or pool behind; MatMul + Add is Gemm
    identities              Identity, Dropout, no-op Cast, Transpose, Reshape, Slice, Mul by 1, … go
    chains                  of reshapes, transposes, casts, slices and concatenations are merged; Transposes around
                            element-wise nodes go where that leaves fewer
    duplicates              are computed once; dead nodes and initializers go
    ======================  ============================================================================

    All rules run until none applies. Outputs move by the rounding of float32 only: each weight is multiplied in
    float64 and rounded once, and none of a narrower type is. A value that still exists has the name it had.
    Only weights that a rule changes are read. Equal initializers stay apart, so that each layer can be changed by
    itself; they are merged when the model is saved.

    Keep BatchNormalization (`keep_batchnorm`) when the model is to be trained further.
    """

    name = "simplify"
    effect = Effect.EXACT

    keep_batchnorm: bool = option(False, "leave BatchNormalization nodes in place, for retraining")

    def run(self, model: Model, ctx: Context) -> int:
        """Apply all rules until none applies any more, or until some only undo each other's work."""
        changed = edit.sweep(model)
        earlier = len(ctx.skips)
        fewest, idle = _size(model), list[dict[Rule, int]]()
        while len(idle) < MOST_IDLE:
            del ctx.skips[earlier:]  # only what the last round refuses is left alone in the end
            found = self._round(model, ctx)
            if not found:
                return changed
            changed += sum(found.values())
            idle = [] if _size(model) < fewest else [*idle, found]
            fewest = min(fewest, _size(model))
        ctx.skip("the model", _quarrel(idle))
        return changed

    def _round(self, model: Model, ctx: Context) -> dict[Rule, int]:
        """At how many places each rule changed something."""
        facts = Facts(model)
        changed = {}
        rules = (rule for rule in RULES if not (self.keep_batchnorm and rule is fold_batchnorm))
        for rule in rules:
            found = rule(model, ctx, facts)
            if found:
                changed[rule] = found + edit.sweep(model)
        return changed


def _size(model: Model) -> int:
    return sum(len(graph.nodes) for graph in model.graphs())


def _quarrel(idle: Sequence[Mapping[Rule, int]]) -> str:
    """What is said of the rules that applied in every one of these rounds."""
    always = [rule.__name__ for rule in idle[-1] if all(rule in found for found in idle)]
    names = " and ".join(always or [rule.__name__ for rule in idle[-1]])
    return f"the rules {names} undo each other: stopped after {len(idle)} rounds that removed no node"
