"""The aim of a layer: a value of the original, and the terms that are added to the layer's output to make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.extract import ancestors
from onnx_compress.compiler.ir.graph import Node, Origin, Variable
from onnx_compress.compiler.repair.behind_activation import Bounds, bounds_behind
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.refittable_layers import Seen, View

Origins: TypeAlias = Callable[[Variable], Origin | None]
"""Maps a value of the model to the original's value it stems from, with what is left of it; None where it has none."""


@dataclass(frozen=True, eq=False)
class Aim:
    """The value `name` of the original, of which the channels `kept` (None: all) along `axis` are left.

    `value` is its counterpart in the compressed model: the layer's output plus the values in `addends`. No reader of
    `value` sees a difference beyond `bounds`.
    """

    name: str
    axis: int
    kept: np.ndarray | None
    value: Variable
    addends: tuple[Variable, ...] = ()
    bounds: Bounds | None = None

    def channels(self, values: np.ndarray) -> np.ndarray:
        """The columns of the original's values [rows, channels] that are left."""
        return values if self.kept is None else values[:, self.kept]

    def seen(self, values: np.ndarray) -> np.ndarray:
        """The same, clipped to what the readers see."""
        mine = self.channels(values)
        return mine if self.bounds is None else self.bounds.clip(mine)


def aim_of(layer: LinearLayer, view: View, origins: Origins, order: Mapping[Node, int]) -> Aim | str:
    """The aim of `layer`, or why nothing in the original corresponds to its output.

    `order` gives the positions of the layers that will be fitted.

    The last layer of a residual branch aims at the sum, so that it also corrects the error of the shortcut. Where
    several layers feed one sum, only the last one does; the others aim at their own outputs.
    """
    total = _sum(layer, view, order)
    better = None if total is None else value_aim(total[0], layer.axis, view, origins, total[1])
    return better if isinstance(better, Aim) else value_aim(layer.result, layer.axis, view, origins)


def value_aim(
    value: Variable, axis: int, view: View, origins: Origins, addends: tuple[Variable, ...] = ()
) -> Aim | str:
    """The aim that `value`, which may have lost channels along `axis`, equals its counterpart in the original."""
    origin = origins(value)
    if origin is None:
        return f"the original has no value that corresponds to '{value.name}'"
    rank = len(view.seen[value.name].shape)
    kept = {cut % rank: indices for cut, indices in origin.kept.items()}
    if any(cut != axis % rank for cut in kept):
        return f"'{value.name}' was cut along other axes than its channels"
    return Aim(origin.name, axis, kept.get(axis % rank), value, addends, bounds_behind(value, view))


def _sum(layer: LinearLayer, view: View, order: Mapping[Node, int]) -> tuple[Variable, tuple[Variable, ...]] | None:
    """The sum that reads the layer's output, and its other terms, if none of them will still change."""
    reader = view.sole_reader(layer.result)
    if reader is None or not ops.of(reader).adds:
        return None
    total = reader.outputs[0]
    addends = tuple(t for t in reader.inputs if t is not layer.result and isinstance(t, Variable))
    if len(addends) + 1 != len(reader.inputs) or not all(view.is_computed(term) for term in addends):
        return None
    assert layer.node.graph is not None
    behind = ancestors(layer.node.graph, addends)
    if layer.node in behind or any(order.get(node, -1) > order[layer.node] for node in behind):
        return None
    if not isinstance(total, Variable) or _shape(total, view.seen) != _shape(layer.result, view.seen):
        return None
    return total, addends


def _shape(value: Variable, seen: Mapping[str, Seen]) -> tuple[int, ...] | None:
    return seen[value.name].shape if value.name in seen else None
