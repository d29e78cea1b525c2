"""Fold Mul, Div, Add and Sub by per-channel constants into the layer before them (see `fold_affine`).

Some frameworks export BatchNormalization and biases this way. A bias after MatMul stays, because MatMul has none.
"""

from __future__ import annotations

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.affine import scales_and_shifts
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.fold_affine import fold_into_producer


def fold_scales(model: Model, ctx: Context, facts: Facts) -> int:
    """Fold every such node that can be folded; others are ordinary operators and are not reported."""
    changed = 0
    for node in model.nodes():
        affine = None if ctx.is_excluded(node) else scales_and_shifts(node, facts)
        if affine is not None and not fold_into_producer(model, ctx, facts, node, affine):
            changed += 1
    return changed
