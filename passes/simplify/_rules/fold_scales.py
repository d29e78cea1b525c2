"""Fold Mul, Div, Add and Sub by constants of the channels into the layer before them (see `fold_affine`).

Frameworks spell out BatchNormalization and biases that way. A bias after MatMul stays: it has nowhere to go.
"""

from __future__ import annotations

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.affine import scales_and_shifts
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.fold_affine import fold_into_producer


def fold_scales(model: Model, ctx: Context, facts: Facts) -> int:
    """Fold what can be; a node that can't is an ordinary operator and not worth a word."""
    changed = 0
    for node in model.nodes():
        affine = None if ctx.is_excluded(node) else scales_and_shifts(node, facts)
        if affine is not None and not fold_into_producer(model, ctx, facts, node, affine):
            changed += 1
    return changed
