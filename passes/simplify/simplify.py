"""simplify: the pass that runs first in every pipeline."""

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
    """Reduce the graph to the fewest nodes that compute the same outputs.

    ::

        x ─ Conv ─ BatchNormalization ─ Identity ─ Relu ─ y     →     x ─ Conv ─ Relu ─ y
        Reshape(x, Concat(Gather(Shape(x), 0), [64]))           →     Reshape(x, [0, 64])

    ======================  ============================================================================
    constants               are folded unless that makes the file grow; Constant nodes become initializers; an
                            If with a constant condition is replaced by its branch
    shapes                  are computed as far as dimensions are fixed; dynamic ones stay dynamic and named
    layers                  BatchNormalization and separate scales and biases are folded into the preceding Conv,
                            ConvTranspose, Gemm or MatMul, a Pad into the next Conv or pool; MatMul + Add is Gemm
    identities              Identity, Dropout, no-op Cast, Transpose, Reshape, Slice, Mul by 1, … are removed
    chains                  of reshapes, transposes, casts, slices and concatenations are merged; Transposes
                            around element-wise nodes are removed if that leaves fewer
    duplicates              are computed once; dead nodes and initializers are removed
    ======================  ============================================================================

    All rules run until none applies. Outputs change only by float32 rounding: a weight is multiplied in float64 and
    rounded once, and weights of narrower types are not multiplied. A value that still exists keeps its name. Only
    weights that a rule changes are read. Equal initializers stay separate, so that each layer can change by itself;
    they are merged when the model is saved.

    Keep BatchNormalization (`keep_batchnorm`) if the model will be trained further.
    """

    name = "simplify"
    effect = Effect.EXACT

    keep_batchnorm: bool = option(False, "keep BatchNormalization nodes, for retraining")

    def run(self, model: Model, ctx: Context) -> int:
        """Apply all rules until none applies, or until some only undo each other."""
        changed = edit.sweep(model)
        earlier = len(ctx.skips)
        fewest, idle = _size(model), list[dict[Rule, int]]()
        while len(idle) < MOST_IDLE:
            del ctx.skips[earlier:]  # only the refusals of the last round are final
            found = self._round(model, ctx)
            if not found:
                return changed
            changed += sum(found.values())
            idle = [] if _size(model) < fewest else [*idle, found]
            fewest = min(fewest, _size(model))
        ctx.skip("the model", _quarrel(idle))
        return changed

    def _round(self, model: Model, ctx: Context) -> dict[Rule, int]:
        """Number of changes by each rule."""
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
    """The message about the rules that applied in every one of these rounds."""
    always = [rule.__name__ for rule in idle[-1] if all(rule in found for found in idle)]
    names = " and ".join(always or [rule.__name__ for rule in idle[-1]])
    return f"the rules {names} undo each other: stopped after {len(idle)} rounds that removed no node"
