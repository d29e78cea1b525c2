"""The layers that read the channels of groups, as linear systems with statistics of their inputs over data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.walk import Place
from onnx_compress.compiler.ir.graph import Node, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Progress
from onnx_compress.compiler.repair.equations import Equations
from onnx_compress.compiler.repair.layers import Convolution, Layer, Product, others
from onnx_compress.compiler.repair.prefix import static_values
from onnx_compress.compiler.repair.recognize import LAYERS, Seen, View, recognize
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.compiler.runtime.data import Dataset
from onnx_compress.passes.prune._obs import System

ROWS_PER_UNKNOWN, LEAST_ROWS = 16, 1 << 13
MOST_PRODUCTS = 1 << 34
"""Multiplications that the sums of one layer may take; beyond, fewer rows are sampled."""
MOST_UNKNOWNS = 3200
"""Inputs of one output up to which a layer is solved for: its matrix has 80 MB."""
RIDGE = 1e-3
"""Share of the mean diagonal: what a few thousand rows don't say is not made use of."""


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer and sums over its inputs; `mean` [K] of them, `gram` [K, K] of their deviations from it."""

    layer: Layer
    mean: np.ndarray
    gram: np.ndarray

    def system(self, rows: np.ndarray) -> System:
        """What leaving out sets of its inputs means, given the rows [sets, R] of each."""
        return System(self.gram, self.layer.weights()[0], rows, RIDGE)

    def shift(self, weights: np.ndarray) -> np.ndarray:
        """The bias [1, M] that keeps the mean of the output with these weights [K, M]."""
        return np.asarray(self.layer.shift() + self.mean @ (self.layer.weights()[0] - weights))


def rows_of(layer: Layer, group: Group, roots: np.ndarray) -> np.ndarray | None:
    """For each set of `group`, in the order of its roots, the rows [sets, R] of the layer's weights that read it."""
    place = next((p for p, _ in group.places if p.node is layer.node and p.role == "in"), None)
    if place is None:
        return None
    channels = _indices(place, group, roots)
    if isinstance(layer, Convolution):
        per_tap = layer.weights().shape[1] // len(place.atoms)
        taps = np.arange(per_tap) * len(place.atoms)
        return np.asarray((channels[:, :, None] + taps).reshape(group.size, -1))
    return channels


def _indices(place: Place, group: Group, roots: np.ndarray) -> np.ndarray:
    """The positions [sets, count] along the axis of `place` that belong to each set."""
    owners = roots[place.atoms]
    mine = np.flatnonzero(np.isin(owners, group.roots))
    return mine[np.argsort(owners[mine], kind="stable")].reshape(group.size, -1)


def layers_of(model: Model, groups: ChannelGroups, data: Dataset) -> tuple[dict[Node, Layer], int]:
    """The layers of the main graph that read prunable groups and can be solved for; how many bytes one sample gives."""
    nodes = {node: None for group in groups.prunable for node in group.consumers if node.graph is model.graph}
    wanted = [node for node in nodes if node.is_op(*LAYERS)]
    static = static_values(model)
    around = [tensor for node in wanted for tensor in (*node.inputs, node.outputs[0], *_added(node))]
    names = [t.name for t in around if isinstance(t, Variable) and t.name and t not in static]
    arrays = next(Capture(model, names).batches(data.take(1), 1)) if names else {}
    view = View(model, static, {name: Seen(array.shape, array.dtype) for name, array in arrays.items()})
    found = {node: recognize(node, view) for node in wanted}
    usable: dict[Node, Layer] = {
        n: layer for n, layer in found.items() if isinstance(layer, Layer) and _is_usable(layer)
    }
    return usable, sum(array.nbytes for array in arrays.values())


def _added(node: Node) -> Iterator[Variable]:
    for reader in node.outputs[0].outputs:
        if reader.is_op("Add") and isinstance(reader.outputs[0], Variable):
            yield reader.outputs[0]


def _is_usable(layer: Layer) -> bool:
    if not isinstance(layer, (Convolution, Product)):
        return False
    groups, unknowns, _ = layer.weights().shape
    return groups == 1 and unknowns <= MOST_UNKNOWNS and layer.bias is not None


def measured(
    model: Model, layers: Sequence[Layer], data: Dataset, batch: int, rng: np.random.Generator, advance: Progress
) -> Mapping[Node, Reader]:
    """Statistics of the inputs of some layers, all from one run over `data`."""
    sums = {layer.node: Equations.zeros(1, layer.weights().shape[1], 0) for layer in layers}
    names = list(dict.fromkeys(t.name for layer in layers for t in (layer.source, layer.result)))
    for arrays in Capture(model, names).batches(data, batch) if names else ():
        for layer in layers:
            outs = others(arrays[layer.result.name].shape, layer.axis)
            places = _places(layer, outs, batch / len(data), rng)
            rows = layer.rows(arrays[layer.source.name], places, outs)
            sums[layer.node].add(rows, np.zeros((*rows.shape[:2], 0)))
        advance()
    return {layer.node: _reader(layer, sums[layer.node]) for layer in layers}


def _places(layer: Layer, outs: tuple[int, ...], share: float, rng: np.random.Generator) -> np.ndarray:
    """Positions to sample in one batch, so that all batches together give as many as are wanted."""
    unknowns = layer.weights().shape[1] + 1
    rows = min(max(LEAST_ROWS, ROWS_PER_UNKNOWN * unknowns), MOST_PRODUCTS // unknowns**2)
    total, count = int(np.prod(outs)), max(1, int(rows * share))
    return np.arange(total) if count >= total else np.sort(rng.choice(total, count, replace=False, shuffle=False))


def _reader(layer: Layer, sums: Equations) -> Reader:
    gram, count = sums.gram[0], max(1, sums.count)
    mean = gram[-1, :-1] / count
    return Reader(layer, mean, gram[:-1, :-1] / count - np.outer(mean, mean))
