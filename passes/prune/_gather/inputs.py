"""Inputs of a layer that no weight of it reads but other nodes need: dropped by a Gather in front of the layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_compress.compiler.analysis.contractions import Contraction
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.context import Context


def gather_inputs(model: Model, ctx: Context, layers: Sequence[Contraction]) -> int:
    """Let layers read only the features for which they have non-zero weights; returns the number of changed layers.

    Layers that read the same value share one Gather, which keeps what any of them needs.
    """
    readers: dict[tuple[Tensor, int], list[Contraction]] = {}
    for layer in layers:
        is_own = layer.source in layer.node.outputs  # the states of a recurrent layer
        if layer.groups == 1 and not is_own and not ctx.is_excluded(layer.node):
            readers.setdefault((layer.source, layer.axis), []).append(layer)
    return sum(_gather(model, source, axis, found) for (source, axis), found in readers.items())


def _gather(model: Model, source: Tensor, axis: int, layers: list[Contraction]) -> int:
    used = np.any([layer.nonzero.any((0, 1)) for layer in layers], axis=0)
    alive = np.flatnonzero(used) if used.any() else np.zeros(1, np.int64)
    is_split = any(layer.node.graph is not layers[0].node.graph for layer in layers)
    if len(alive) == len(used) or is_split:
        return 0
    read_only(model, source, axis, alive, [(layer.node, 1 - layer.slot) for layer in layers])
    for layer in layers:
        _narrow(model, layer, alive)
    return len(layers)


def read_only(model: Model, source: Tensor, axis: int, kept: np.ndarray, readers: Sequence[tuple[Node, int]]) -> None:
    """Let `readers` (node, slot) of one graph read indices `kept` of `source` along an axis, through one Gather."""
    first = min((node for node, _ in readers), key=edit.position)
    indices = edit.add_constant(model, source.name, "alive", kept.astype(np.int32), graph=first.graph)
    inputs = [source, indices]
    node = edit.add_node(model, "Gather", inputs, base=source.name, suffix="part", before=first, attrs={"axis": axis})
    edit.set_origin(model, node.outputs[0], source.origin.keep(axis, kept))
    for reader, slot in readers:
        edit.set_input(model, reader, slot, node.outputs[0])


def _narrow(model: Model, layer: Contraction, alive: np.ndarray) -> None:
    constant = input_constant(layer.node, layer.slot)
    assert constant is not None
    origin = constant.origin.keep(layer.in_axis, alive)
    made = edit.set_weight(model, layer.node, layer.slot, np.take(constant.values, alive, layer.in_axis))
    edit.set_origin(model, made, origin)
