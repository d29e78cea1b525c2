"""Replace an If with a constant condition by its taken branch."""

from __future__ import annotations

from onnx_compress.compiler.ir.hoist import hoist
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts


def inline_branches(model: Model, ctx: Context, facts: Facts) -> int:
    """Inline the taken branches; a nested If is handled in the next round."""
    decided = [
        (node, condition)
        for node in model.nodes()
        if node.is_op("If") and (condition := facts.input_value(node, 0)) is not None
    ]
    inlined = 0
    for node, condition in decided:
        if node.graph is not None:
            hoist(model, node, node.attrs["then_branch" if condition.all() else "else_branch"])
            inlined += 1
    return inlined
