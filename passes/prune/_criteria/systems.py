"""The layers that read the channels of groups, as linear systems with statistics of their inputs over data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.walk import Place
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Progress
from onnx_compress.compiler.repair.effort import RIDGE_TO_CHOOSE
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, Product
from onnx_compress.compiler.repair.moments import input_sums, recognized
from onnx_compress.compiler.repair.refittable_layers import LAYERS
from onnx_compress.compiler.repair.solve.equations import Equations
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.passes.prune._criteria.obs import System

MOST_UNKNOWNS = 3200
"""Maximum number of inputs per output of a layer that is solved for: its matrix has 80 MB."""


@dataclass(frozen=True, eq=False)
class ReaderSystem:
    """A layer and sums over its inputs: their `mean` [K], and the `gram` [K, K] of their deviations from it."""

    layer: LinearLayer
    mean: np.ndarray
    gram: np.ndarray

    def system(self, rows: np.ndarray) -> System:
        """The system for removing sets of its inputs, given the rows [sets, R] of each."""
        return System(self.gram, self.layer.weights()[0], rows, RIDGE_TO_CHOOSE)

    def shift(self, weights: np.ndarray) -> np.ndarray:
        """The bias [1, M] that keeps the mean of the output with these weights [K, M]."""
        return np.asarray(self.layer.shift() + self.mean @ (self.layer.weights()[0] - weights))


def rows_of(layer: LinearLayer, group: Group, roots: np.ndarray) -> np.ndarray | None:
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


def layers_of(model: Model, groups: ChannelGroups, data: Dataset) -> tuple[dict[Node, LinearLayer], int]:
    """The solvable layers of the main graph that read prunable groups, and the bytes of activations per sample."""
    nodes = {node: None for group in groups.prunable for node in group.consumers if node.graph is model.graph}
    found, sample = recognized(model, [node for node in nodes if node.is_op(*LAYERS)], data)
    return {n: layer for n, layer in found.items() if isinstance(layer, LinearLayer) and _is_usable(layer)}, sample


def _is_usable(layer: LinearLayer) -> bool:
    if not isinstance(layer, (Convolution, Product)) or layer.is_tied:
        return False
    groups, unknowns, _ = layer.weights().shape
    return groups == 1 and unknowns <= MOST_UNKNOWNS and layer.bias is not None


def measured(
    model: Model, layers: Sequence[LinearLayer], data: Dataset, batch: int, rng: np.random.Generator, advance: Progress
) -> Mapping[Node, ReaderSystem]:
    """Statistics of the inputs of some layers, all from one run over `data`."""
    sums = input_sums(model, layers, data, batch, rng, advance)
    return {layer.node: _reader(layer, sums[layer.node]) for layer in layers}


def _reader(layer: LinearLayer, sums: Equations) -> ReaderSystem:
    gram, count = sums.gram[0], max(1, sums.count)
    mean = gram[-1, :-1] / count
    return ReaderSystem(layer, mean, gram[:-1, :-1] / count - np.outer(mean, mean))
