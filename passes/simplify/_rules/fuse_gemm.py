"""Fuse MatMul and its bias into one Gemm, if the input is certainly a matrix.

    Add(MatMul(x, W), b)  →  Gemm(x, W, b)      x [M, K], W [K, N], b [N], [1, N] or a scalar

onnxruntime does the same when it loads a model, so the result is no slower, and passes see one layer. Inputs of
higher rank would need a Reshape on either side: they are left alone.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts


def fuse_gemm(model: Model, ctx: Context, facts: Facts) -> int:
    """Fuse each pair whose product is read only by the Add."""
    changed = 0
    for node in model.nodes():
        if node.is_op("Add") and len(node.inputs) == 2 and model.opset >= 7 and not ctx.is_excluded(node):
            changed += any(_fuse(model, ctx, facts, node, slot) for slot in (0, 1))
    return changed


def _fuse(model: Model, ctx: Context, facts: Facts, add: Node, slot: int) -> bool:
    product, bias = add.inputs[slot], facts.constant(add.inputs[1 - slot])
    matmul = product.inputs[0] if product.inputs else None
    if matmul is None or bias is None or not matmul.is_op("MatMul") or matmul.graph is not add.graph:
        return False
    weight, shape = facts.constant(matmul.inputs[1]), facts.shape(matmul.inputs[0])
    if weight is None or shape is None or len(shape) != 2 or len(weight.stored.shape) != 2:
        return False
    if not _is_bias(bias, weight) or ctx.is_excluded(matmul) or not facts.is_alone(product):
        return False
    edit.retype(model, matmul, "Gemm", [*matmul.inputs, add.inputs[1 - slot]])
    edit.absorb(model, matmul, add)
    return True


def _is_bias(bias: Constant, weight: Constant) -> bool:
    if np.dtype(weight.stored.dtype) not in (np.float32, np.float64):
        return False
    columns = weight.stored.shape[1]
    return tuple(bias.stored.shape) in ((), (1,), (columns,), (1, 1), (1, columns))
