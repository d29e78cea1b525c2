"""The interface of a rule of `simplify`, and how a rule removes a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from onnx_compress.compiler.ir import edit, ops
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts

Rule: TypeAlias = Callable[[Model, Context, Facts], int]
"""Rewrites wherever it applies, and returns the number of rewrites. Nodes left without a reader are swept afterwards,
and facts are collected again before the next round."""


def is_untouched(node: Node) -> bool:
    """Whether a node is neither folded nor shared.

    Random ones differ from run to run. In quantized models QuantizeLinear and its kind define how to compute;
    onnxruntime fuses them with their neighbours.
    """
    facts = ops.of(node)
    return facts.is_random or facts.family is ops.Family.QUANTIZATION


def forward(model: Model, facts: Facts, node: Node, source: Tensor) -> bool:
    """Make the readers of `node` read `source`, which has the same value; False if a fixed name prevents it."""
    result = node.outputs[0]
    if result in facts.results:
        return edit.bypass(model, node, source)
    edit.replace_uses(model, result, source)
    return True
