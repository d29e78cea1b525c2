"""Second moments of layers' inputs: XᵀX of many layers from one run of the present model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod

import numpy as np

from onnx_compress.compiler.ir.graph import Node, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.effort import ROWS_TO_CHOOSE
from onnx_compress.compiler.repair.layers import LinearLayer, others
from onnx_compress.compiler.repair.present_activations import static_values
from onnx_compress.compiler.repair.refittable_layers import Seen, View, recognize
from onnx_compress.compiler.repair.solve.equations import Equations
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.compiler.runtime.data.dataset import Dataset

LEAST_ROWS = 1 << 13
MOST_PRODUCTS = 1 << 34
"""Multiplications allowed for the sums of one layer; above this, fewer rows are sampled."""
GRAM_BYTES = 1 << 29
"""Bytes of sums in memory at once; above this, the data are run once more."""


def recognized(model: Model, nodes: Sequence[Node], data: Dataset) -> tuple[dict[Node, LinearLayer | str], int]:
    """The layers of some nodes of the main graph, or why they can't be solved for; bytes of values per sample."""
    static = static_values(model)
    around = [tensor for node in nodes for tensor in (*node.inputs, node.outputs[0], *_added(node))]
    names = [t.name for t in around if isinstance(t, Variable) and t.name and t not in static]
    arrays = next(Capture(model, names).batches(data.take(1), 1)) if names else {}
    view = View(model, static, {name: Seen(array.shape, array.dtype) for name, array in arrays.items()})
    return {node: recognize(node, view) for node in nodes}, sum(array.nbytes for array in arrays.values())


def _added(node: Node) -> Iterator[Variable]:
    for reader in node.outputs[0].outputs:
        if reader.is_op("Add") and isinstance(reader.outputs[0], Variable):
            yield reader.outputs[0]


def input_sums(
    model: Model,
    layers: Sequence[LinearLayer],
    data: Dataset,
    batch: int,
    rng: np.random.Generator,
    advance: Callable[[], None],
) -> Mapping[Node, Equations]:
    """Sums over sampled rows of the inputs of some layers, without targets, all from one run over `data`."""
    shapes = {layer.node: layer.weights().shape for layer in layers}
    sums = {node: Equations.zeros(shape[0], shape[1], 0) for node, shape in shapes.items()}
    names = list(dict.fromkeys(t.name for layer in layers for t in (layer.source, layer.result)))
    for arrays in Capture(model, names).batches(data, batch) if names else ():
        for layer in layers:
            outs = others(arrays[layer.result.name].shape, layer.axis)
            places = _places(layer, outs, batch / len(data), rng)
            rows = layer.rows(arrays[layer.source.name], places, outs)
            sums[layer.node].add(rows, np.zeros((*rows.shape[:2], 0)))
        advance()
    return sums


def _places(layer: LinearLayer, outs: tuple[int, ...], share: float, rng: np.random.Generator) -> np.ndarray:
    """Positions to sample in one batch, so that all batches together give the wanted number."""
    unknowns = layer.weights().shape[1] + 1
    rows = min(max(LEAST_ROWS, ROWS_TO_CHOOSE * unknowns), MOST_PRODUCTS // unknowns**2)
    total, count = prod(outs), max(1, int(rows * share))
    return np.arange(total) if count >= total else np.sort(rng.choice(total, count, replace=False, shuffle=False))


def gram_bytes(layers: Iterable[LinearLayer]) -> int:
    """Bytes of the sums of some layers."""
    shapes = [layer.weights().shape for layer in layers]
    return sum(8 * groups * (unknowns + 1) ** 2 for groups, unknowns, _ in shapes)


def parts(sizes: Sequence[int]) -> list[list[int]]:
    """The indices of `sizes` in bytes, cut in order into parts whose sums fit `GRAM_BYTES`."""
    found: list[list[int]] = []
    size = 0
    for i, mine in enumerate(sizes):
        if not found or size + mine > GRAM_BYTES:
            found.append([])
            size = 0
        found[-1].append(i)
        size += mine
    return found
