"""Turn Constant nodes into initializers, so that every weight is an initializer."""

from __future__ import annotations

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts


def inline_constant_nodes(model: Model, ctx: Context, facts: Facts) -> int:
    """Replace each Constant node by an initializer with the name of its output; sparse ones stay."""
    changed = 0
    for node in model.nodes():
        out = node.outputs[0] if node.is_op("Constant") else None
        if not isinstance(out, Variable) or out in facts.results:
            continue
        constant = constant_of(out)
        if constant is not None:
            edit.freeze(model, out, constant.stored)
            changed += 1
    return changed
