"""The importance of each output of a layer: the cost of its error at the model's outputs.

Least squares counts all outputs of a layer alike; their readers do not. Going back from the model's outputs,

    s(input c) = Σ over outputs m and taps   W[tap, c, m]² · s(output m) / stride

is the share of an input's error that reaches the output of a layer, for small and independent errors; sums and
element-wise functions pass it on. It is the diagonal of the Gauss-Newton matrix with the derivatives of element-wise
functions taken as one. Where another operator reads a value, all its elements count alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, Product

LEAST = 1e-3
"""Least importance of an output, as a share of the mean."""
ALIKE = np.ones(1)


def importances(model: Model, layers: Iterable[LinearLayer]) -> dict[Node, np.ndarray]:
    """The importance [groups, M] of the outputs of each of some layers, 1 on average."""
    by_node = {layer.node: layer for layer in layers if isinstance(layer, (Convolution, Product))}
    behind: dict[Tensor, list[np.ndarray]] = {tensor: [ALIKE] for tensor in model.graph.outputs}
    found = {}
    for node in reversed(model.graph.nodes):
        layer = by_node.get(node)
        if layer is not None:
            found[node] = _resolved(_joined(behind, [layer.result]), layer.weights())
            behind.setdefault(layer.source, []).append(_through(layer, found[node]))
            continue
        passed = _joined(behind, node.outputs) if _keeps_channels(node) else ALIKE
        for tensor in node.inputs:
            behind.setdefault(tensor, []).append(passed)
    return found


def _keeps_channels(node: Node) -> bool:
    """Whether channels stay apart; where positions are flattened into channels, a channel's stay together."""
    facts = ops.of(node)
    is_layout = facts.movement in (ops.Movement.STAYS, ops.Movement.RESHAPES)
    return is_layout or facts.is_activation or facts.family is ops.Family.POOL or facts.adds or node.is_op("Sub")


def _joined(behind: dict[Tensor, list[np.ndarray]], tensors: Iterable[Tensor]) -> np.ndarray:
    """The sum over all readers; ones where a reader counts all elements alike."""
    vectors = [vector for tensor in tensors for vector in behind.get(tensor, [])]
    sizes = {len(vector) for vector in vectors}
    return np.asarray(sum(vectors)) if len(sizes) == 1 else ALIKE


def _resolved(vector: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A vector [n] as [groups, M]; n may be M · groups · positions."""
    groups, _, width = weights.shape
    if len(vector) == 1 or len(vector) % (groups * width):
        return np.ones((groups, width))
    summed = vector.reshape(groups, width, -1).sum(axis=2)
    mean = float(summed.mean())
    if not 0 < mean < np.inf:
        return np.ones((groups, width))
    return np.asarray(np.maximum(summed / mean, LEAST))


def _through(layer: Convolution | Product, importance: np.ndarray) -> np.ndarray:
    """The importance of the inputs [channels]."""
    weights: np.ndarray = np.square(layer.weights()) @ importance[:, :, None]
    if isinstance(layer, Product):
        return np.asarray(weights.reshape(-1))
    taps = prod(layer.windows.kernel)
    strides = 1 if layer.windows.is_transposed else prod(layer.windows.stride)
    return np.asarray(weights.reshape(layer.groups, taps, -1).sum(axis=1).reshape(-1) / strides)
