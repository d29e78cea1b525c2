"""What a layer aims at: which value of the original, and what is added to the layer's own output before that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.ir.extract import ancestors
from onnx_compress.compiler.ir.graph import Node, Origin, Variable
from onnx_compress.compiler.repair.behind_activation import Bounds, bounds_behind
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.refittable_layers import Seen, View

Origins: TypeAlias = Callable[[Variable], Origin | None]
"""Says which value of the original one of the model stems from, and what of it is left; None: none that is there."""


@dataclass(frozen=True, eq=False)
class Aim:
    """The value `name` of the original, of which the channels `kept` (None: all) along `axis` are left.

    Values of the compressed model in `beside` are added to the layer's output to make `value`, its counterpart there.
    `bounds` are those beyond which nothing that reads `value` sees a difference.
    """

    name: str
    axis: int
    kept: np.ndarray | None
    value: Variable
    beside: tuple[Variable, ...] = ()
    bounds: Bounds | None = None

    def channels(self, values: np.ndarray) -> np.ndarray:
        """Of values [rows, channels] of the original those that are left."""
        return values if self.kept is None else values[:, self.kept]

    def seen(self, values: np.ndarray) -> np.ndarray:
        """What the readers see of them."""
        mine = self.channels(values)
        return mine if self.bounds is None else self.bounds.clip(mine)


def aim_of(layer: LinearLayer, view: View, origins: Origins, order: Mapping[Node, int]) -> Aim | str:
    """What `layer` aims at, or why nothing in the original corresponds to its output.

    `order` is that of the layers that will be fitted.

    The last layer of a residual branch aims at the sum, so that it makes up for what is wrong with the shortcut
    too; of several layers that feed one sum this is the last one, the others aim at their own outputs.
    """
    total = _sum(layer, view, order)
    better = None if total is None else value_aim(total[0], layer.axis, view, origins, total[1])
    return better if isinstance(better, Aim) else value_aim(layer.result, layer.axis, view, origins)


def value_aim(value: Variable, axis: int, view: View, origins: Origins, beside: tuple[Variable, ...] = ()) -> Aim | str:
    """The aim that `value`, of which channels along `axis` may have been cut, be what it was."""
    origin = origins(value)
    if origin is None:
        return f"the original has no value that corresponds to '{value.name}'"
    rank = len(view.seen[value.name].shape)
    kept = {cut % rank: indices for cut, indices in origin.kept.items()}
    if any(cut != axis % rank for cut in kept):
        return f"more than channels is cut of '{value.name}'"
    return Aim(origin.name, axis, kept.get(axis % rank), value, beside, bounds_behind(value, view))


def _sum(layer: LinearLayer, view: View, order: Mapping[Node, int]) -> tuple[Variable, tuple[Variable, ...]] | None:
    """The sum that the layer's output goes into, and its other terms, if none of them will change any more."""
    reader = view.sole_reader(layer.result)
    if reader is None or not reader.is_op("Add", "Sum"):
        return None
    total = reader.outputs[0]
    beside = tuple(t for t in reader.inputs if t is not layer.result and isinstance(t, Variable))
    if len(beside) + 1 != len(reader.inputs) or not all(view.is_computed(term) for term in beside):
        return None
    assert layer.node.graph is not None
    behind = ancestors(layer.node.graph, beside)
    if layer.node in behind or any(order.get(node, -1) > order[layer.node] for node in behind):
        return None
    if not isinstance(total, Variable) or _shape(total, view.seen) != _shape(layer.result, view.seen):
        return None
    return total, beside


def _shape(value: Variable, seen: Mapping[str, Seen]) -> tuple[int, ...] | None:
    return seen[value.name].shape if value.name in seen else None
