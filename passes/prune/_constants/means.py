"""Fold the mean output of removed channels into the biases of the layers that read them.

A layer Y = Σ_i W_i ∗ X_i + b loses the terms of the removed channels i. Each is replaced by its mean over the
calibration data: b += Σ_i E[X_i] · ΣW_i, the sum of W_i over the kernel. That is exact if X_i is constant (a channel
with zero weights: then X_i is its bias through the activation) and nothing is padded, and the best constant otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.surgery.channel_removal import Removal
from onnx_compress.passes.prune._criteria.statistics import Channels


@dataclass(frozen=True, eq=False)
class NarrowedReader:
    """A layer that loses the inputs `gone`; its weight sums over axis `summed` and keeps `kept` of axis `results`.

    `node` reads the weight at input 1; `holder` adds the bias at input `slot`.
    """

    node: Node
    gone: np.ndarray
    summed: int
    results: int
    kept: np.ndarray
    holder: Node
    slot: int


def readers(model: Model, removal: Removal) -> list[NarrowedReader]:
    """The layers whose bias can compensate for the lost inputs: dense Conv, Gemm, MatMul followed by an Add."""
    found = []
    for node in model.graph.nodes:
        axes = _axes(node)
        bias = _bias(node)
        weight = input_value(node, 1) if axes is not None else None
        if axes is None or bias is None or weight is None or axes[0] not in removal.weights.get((node, 1), {}):
            continue
        edits = removal.weights[node, 1]
        gone = np.setdiff1d(np.arange(weight.shape[axes[0]]), edits[axes[0]])
        kept = edits.get(axes[1], np.arange(weight.shape[axes[1]]))
        found.append(NarrowedReader(node, gone, *axes, kept, *bias))
    return found


def _axes(node: Node) -> tuple[int, int] | None:
    """The weight's axes: the one summed over, and the one of the results."""
    if node.is_op("Conv") and node.attrs.get("group", 1) == 1:
        return 1, 0
    if node.is_op("Gemm") and not node.attrs.get("transA") and node.attrs.get("beta", 1.0) == 1.0:
        return (1, 0) if node.attrs.get("transB") else (0, 1)
    weight = input_value(node, 1) if node.is_op("MatMul") else None
    return (0, 1) if weight is not None and weight.ndim == 2 else None


def _bias(node: Node) -> tuple[Node, int] | None:
    """The node and input slot that add the bias; None if there is none, or it is computed or not a vector."""
    if not node.is_op("MatMul"):
        is_there = len(node.inputs) > 2 and bool(node.inputs[2].name)
        value = input_value(node, 2)
        return (node, 2) if not is_there or (value is not None and value.ndim == 1) else None
    out = node.outputs[0]
    if len(out.outputs) != 1 or not out.outputs[0].is_op("Add"):
        return None
    adder = out.outputs[0]
    slot = 1 if adder.inputs[0] is out else 0
    value = input_value(adder, slot)
    columns = input_value(node, 1)
    is_vector = value is not None and columns is not None and value.shape == columns.shape[1:]
    return (adder, slot) if is_vector else None


def shifts(
    found: Sequence[NarrowedReader], statistics: Mapping[str, Channels], *, only_constant: bool
) -> list[tuple[NarrowedReader, np.ndarray]]:
    """Σ_i E[X_i] · ΣW_i for the kept results of each layer; `only_constant`: only over inputs that never vary."""
    lost = []
    for reader in found:
        channels = statistics.get(reader.node.inputs[0].name)
        weight = input_value(reader.node, 1)
        if channels is None or weight is None:
            continue
        mean = np.where(channels.is_constant, channels.mean, 0.0) if only_constant else channels.mean
        matrix = np.moveaxis(weight, (reader.results, reader.summed), (0, 1))
        matrix = matrix.reshape(*matrix.shape[:2], -1).sum(2, dtype=np.float64)
        shift = matrix[np.ix_(reader.kept, reader.gone)] @ mean[reader.gone]
        lost.append((reader, shift * reader.node.attrs.get("alpha", 1.0)))
    return lost


def add_to_biases(model: Model, lost: Sequence[tuple[NarrowedReader, np.ndarray]]) -> None:
    """Add the shifts to the layers' biases; a Conv or Gemm without a bias gets one."""
    for reader, shift in lost:
        if not shift.any():
            continue
        bias = input_value(reader.holder, reader.slot)
        if bias is not None:
            edit.set_weight(model, reader.holder, reader.slot, (bias + shift).astype(bias.dtype))
            continue
        weight = reader.node.inputs[1]
        dtype = input_value(reader.node, 1).dtype  # type: ignore[union-attr]
        made = edit.add_constant(model, weight.name, "bias", shift.astype(dtype))
        edit.set_input(model, reader.node, 2, made)
