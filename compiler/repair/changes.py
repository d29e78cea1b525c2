"""Which values of a model differ from the original's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx_compress.compiler.ir.graph import Constant, Node, Tensor
from onnx_compress.compiler.ir.model import Model


def changed_values(model: Model, original: Model, touched: Callable[[Node], bool] | None = None) -> set[Tensor]:
    """The values of the main graph that may differ from those of the same name in `original`.

    A value is the same where the same operator computes it from the same inputs and equal constants. Nothing is
    computed: a value that only looks different counts as changed, and so do nodes with bodies. Nodes for which
    `touched` is true always count as different.
    """
    producers = {out.name: node for node in original.graph.nodes for out in node.outputs}
    inputs = {tensor.name for tensor in original.graph.inputs}
    same: set[Tensor] = {tensor for tensor in model.graph.inputs if tensor.name in inputs}
    changed: set[Tensor] = set()
    for node in model.graph.nodes:
        twin = next((producers[out.name] for out in node.outputs if out.name in producers), None)
        is_touched = touched is not None and touched(node)
        is_same = (
            not is_touched and twin is not None and _does_the_same(node, twin) and _reads_the_same(node, twin, same)
        )
        (same if is_same else changed).update(out for out in node.outputs if out.name)
    return changed


def _does_the_same(node: Node, twin: Node) -> bool:
    if (node.op, node.domain) != (twin.op, twin.domain) or any(True for _ in node.bodies()):
        return False
    if [out.name for out in node.outputs] != [out.name for out in twin.outputs]:
        return False
    return node.attrs.keys() == twin.attrs.keys() and all(
        _equal_attributes(value, twin.attrs[name]) for name, value in node.attrs.items()
    )


def _equal_attributes(a: object, b: object) -> bool:
    if isinstance(a, Constant) and isinstance(b, Constant):
        return equal_constants(a, b)
    return bool(a == b)


def _reads_the_same(node: Node, twin: Node, same: set[Tensor]) -> bool:
    if len(node.inputs) != len(twin.inputs):
        return False
    return all(_is_equal(a, b, same) for a, b in zip(node.inputs, twin.inputs))


def _is_equal(a: Tensor, b: Tensor, same: set[Tensor]) -> bool:
    if isinstance(a, Constant) and isinstance(b, Constant):
        return equal_constants(a, b)
    return a.name == b.name and (a in same or not a.name)


def equal_constants(a: Constant, b: Constant) -> bool:
    """Whether two constants hold the same bits; copies of a model share their arrays, which makes this fast."""
    if a.stored is b.stored:
        return True
    if tuple(a.stored.shape) != tuple(b.stored.shape) or a.stored.dtype != b.stored.dtype:
        return False
    return bool(np.array_equal(a.values, b.values))
