"""Find the channels that can affect the outputs, traced backwards through the non-zero weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.channels.atoms import UNMARKED
from onnx_compress.compiler.analysis.constants import Constants
from onnx_compress.compiler.analysis.contractions import Contraction
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model


def anchored(model: Model, known: Constants, layers: Sequence[Contraction]) -> np.ndarray:
    """The sets of channels that matter by themselves: bool by root.

    They are fixed (outputs among them), are coupled with others by a norm or reduction, or are summed over in a
    product without a constant weight, unless known to be zero.
    """
    groups = known.groups
    matters: np.ndarray = (groups.sets.fixed != UNMARKED) | (groups.sets.coupled != UNMARKED)
    weighted = {layer.node for layer in layers}
    for node in model.nodes():
        if ops.of(node).contracts and node not in weighted:
            for atoms in _summed(node, known):
                matters[groups.sets.roots[atoms]] = True
    return matters


def live(
    groups: ChannelGroups, layers: Sequence[Contraction], matters: np.ndarray, folded: Mapping[Contraction, np.ndarray]
) -> np.ndarray:
    """The sets that reach one of those that matter: bool by root.

    A layer reads a channel if one of its live results has a non-zero weight for it, unless the channel is `folded`
    [columns]: its constant is added to the bias.
    """
    alive, roots = matters.copy(), groups.sets.roots
    while True:
        before = int(alive.sum())
        for layer in reversed(layers):
            if layer.columns is not None:
                alive[roots[layer.columns[_read(layer, alive, roots) & ~folded[layer]]]] = True
        if int(alive.sum()) == before:
            return alive


def _read(layer: Contraction, alive: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """The columns with a non-zero weight in a live row."""
    if layer.rows is None:
        return np.asarray(layer.nonzero.any(1).reshape(-1))
    rows = alive[roots[layer.rows]].reshape(layer.groups, -1, 1)
    return np.asarray((layer.nonzero & rows).any(1).reshape(-1))


def _summed(node: Node, known: Constants) -> list[np.ndarray]:
    """The atoms that a product without a constant weight sums over; for an unusual product all that it reads."""
    axes = [known.axes.read(node, slot) for slot in range(len(node.inputs))]
    if node.op == "Einsum":
        terms, _, result = str(node.attrs.get("equation", "")).replace(" ", "").partition("->")
        letters = terms.split(",")
        return [atoms for term, found in zip(letters, axes) for i, atoms in found.items() if term[i] not in result]
    ranks = [known.axes.rank(tensor) for tensor in node.inputs]
    if node.op != "MatMul" or min(ranks) < 2:
        return [atoms for found in axes for atoms in found.values()]
    sides = [(node.inputs[0], ranks[0] - 1, axes[0]), (node.inputs[1], ranks[1] - 2, axes[1])]
    values = [known.along(tensor, axis) for tensor, axis, _ in sides]
    is_zero = np.any([found == 0 for found in values if found is not None], axis=0)
    summed = [found[axis] for _, axis, found in sides if axis in found]
    return [atoms[~np.broadcast_to(is_zero, atoms.shape)] for atoms in summed]
