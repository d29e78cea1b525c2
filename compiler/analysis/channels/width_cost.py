"""The multiply-accumulates of a model as a function of the widths of its channel groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_compress.compiler.analysis.channels.groups import ChannelGroups
from onnx_compress.compiler.ir.graph import Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.shapes.sizes import SizeTable, UnknownSize


class WidthCost:
    """Multiply-accumulates of a model by the widths of its prunable groups.

    A layer's multiply-accumulates are a constant times the lengths of the axes it multiplies over; each length is the
    fixed part of the axis plus, for each group, (channels per set) · (sets kept).
    """

    def __init__(self, model: Model, groups: ChannelGroups, inputs: Mapping[str, Sequence[int]] | None = None) -> None:
        sizes = SizeTable(model, inputs or {})
        self.groups = groups.prunable
        group_of = np.full(len(groups.sets.roots), -1)
        for i, group in enumerate(self.groups):
            group_of[group.roots] = i
        self._owners = group_of[groups.sets.roots]
        self.nodes = tuple(work.node for work in groups.walk.works)
        """The nodes of `products`."""
        lengths: dict[int, int] = {}
        rows: list[np.ndarray] = []
        layers: list[tuple[int, list[int]]] = []
        for work in groups.walk.works:
            factor = int(np.prod([_length(sizes, *place) for place in work.others], dtype=object))
            for axis in work.tracked:
                if id(axis) not in lengths:
                    lengths[id(axis)] = len(rows)
                    rows.append(self.row(axis))
            layers.append((factor, [lengths[id(axis)] for axis in work.tracked]))
        self._matrix = np.array(rows, np.int64).reshape(len(rows), len(self.groups) + 1)
        self._factors = np.array([factor for factor, _ in layers], np.float64)
        most = max((len(axes) for _, axes in layers), default=0)
        self._axes = np.array([axes + [len(rows)] * (most - len(axes)) for _, axes in layers], np.int64)

    def row(self, atoms: np.ndarray) -> np.ndarray:
        """Channels per set of each group on the axis of these atoms, and the fixed channels last: [groups + 1]."""
        counts = np.bincount(self._owners[atoms] + 1, minlength=len(self.groups) + 1)
        per_set = counts[1:] // np.array([group.size for group in self.groups], dtype=np.int64).reshape(-1)
        return np.append(per_set, counts[0])

    @property
    def sizes(self) -> np.ndarray:
        """Number of sets in each prunable group before any removal: int64 [groups]."""
        return np.array([group.size for group in self.groups], np.int64)

    def macs(self, kept: np.ndarray) -> int:
        """Multiply-accumulates if group i keeps kept[i] of its sets."""
        return int(self.products(kept).sum())

    def products(self, kept: np.ndarray) -> np.ndarray:
        """Multiply-accumulates of each of `nodes`: float64."""
        lengths = np.append(self._matrix @ np.append(kept, 1), 1)
        products = lengths[self._axes].prod(axis=1) if self._axes.size else np.ones(len(self._factors))
        return np.asarray(self._factors * products)


def _length(sizes: SizeTable, tensor: Tensor, axis: int) -> int:
    """Length of an axis; an unknown one counts as 1, the same before and after."""
    try:
        return sizes(tensor)[axis]
    except (UnknownSize, IndexError):
        return 1
