"""Fold BatchNormalization into the layer before it (see `fold_affine`)."""

from __future__ import annotations

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.affine import normalizes
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.fold_affine import fold_into_producer


def fold_batchnorm(model: Model, ctx: Context, facts: Facts) -> int:
    """Fold every BatchNormalization that can be folded; report the others with the reason."""
    changed = 0
    for node in model.nodes():
        if not node.is_op("BatchNormalization") or ctx.is_excluded(node):
            continue
        affine = normalizes(node, facts)
        refusal = affine if isinstance(affine, str) else fold_into_producer(model, ctx, facts, node, affine)
        if refusal:
            ctx.skip(node, refusal)
        changed += not refusal
    return changed
