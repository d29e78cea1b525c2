"""What a rule of `simplify` is, and the one way it takes a node out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts

Rule: TypeAlias = Callable[[Model, Context, Facts], int]
"""Rewrites wherever it applies and returns at how many places. Nodes that it leaves without a reader are swept
after it, and facts are gathered anew before it runs again."""

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Dropout"}
)
# Quantized models say with these nodes how to compute; onnxruntime fuses them with their neighbours.
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
UNTOUCHED = _RANDOM | _QUANTIZED
"""Operators that are neither evaluated nor shared."""


def forward(model: Model, facts: Facts, node: Node, source: Tensor) -> bool:
    """Let whatever reads `node` read `source`, which has the same value; False where a name must stay in its way."""
    result = node.outputs[0]
    if result in facts.results:
        return edit.bypass(model, node, source)
    edit.replace_uses(model, result, source)
    return True
