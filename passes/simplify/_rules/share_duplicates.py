"""Merge duplicate nodes: the same operator, attributes and inputs.

Small constants are the same input if their values are equal, large ones only if they are the same initializer,
because equal weights stay separate until the model is saved. A body may use values computed earlier in the graph
around it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Hashable
from typing import Any

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.rule import forward, is_untouched

SMALL = 1024
"""Maximum size in bytes of constants that are compared by value."""

Seen = ChainMap[Hashable, Node]


def share_duplicates(model: Model, ctx: Context, facts: Facts) -> int:
    """Make the readers of a duplicate read the first node."""
    return _share(model, facts, model.graph, ChainMap())


def _share(model: Model, facts: Facts, graph: Graph, seen: Seen) -> int:
    changed = 0
    for node in list(graph.nodes):
        bodies = list(node.bodies())
        for body in bodies:
            changed += _share(model, facts, body, seen.new_child())
        if bodies or not node.is_standard or is_untouched(node) or not node.outputs:
            continue
        first = seen.setdefault(_key(node, facts), node)
        if first is not node:
            changed += _replace(model, facts, node, first)
    return changed


def _replace(model: Model, facts: Facts, node: Node, first: Node) -> bool:
    if len(node.outputs) == 1:
        return forward(model, facts, node, first.outputs[0])
    pairs = [(own, other) for own, other in zip(node.outputs, first.outputs) if own.name]
    if len(node.outputs) != len(first.outputs) or any(own in facts.results or not other.name for own, other in pairs):
        return False
    for own, other in pairs:
        edit.replace_uses(model, own, other)
    return True


def _key(node: Node, facts: Facts) -> Hashable:
    return node.op, attributes_key(node), tuple(_input(tensor, facts) for tensor in node.inputs)


def attributes_key(node: Node) -> Hashable:
    """A key that is equal for equal attributes."""
    return tuple((name, _attribute(value)) for name, value in sorted(node.attrs.items()))


def _attribute(value: Any) -> Hashable:
    if isinstance(value, Constant):
        return constant_key(value)
    # The text distinguishes 1 from 1.0 and 0.0 from -0.0, which are equal as numbers.
    return type(value).__name__, repr(value)


def _input(tensor: Tensor, facts: Facts) -> Hashable:
    if not tensor.name:
        return ""
    constant = facts.constant(tensor)
    return tensor if constant is None else constant_key(constant)


def constant_key(constant: Constant) -> Hashable:
    """A key that is equal for equal small constants; a large constant equals only itself."""
    stored = constant.stored
    if constant.nbytes > SMALL or stored.dtype == object:
        return constant
    return str(stored.dtype), tuple(stored.shape), constant.values.tobytes()
