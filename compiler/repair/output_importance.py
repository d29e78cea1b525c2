"""What an error of each output of a layer costs further on.

Least squares counts all outputs of a layer alike, but what reads them does not. Going back from the model's outputs,

    s(input c) = Σ over outputs m and taps   W[tap, c, m]² · s(output m) / stride

is how much of an error of an input arrives behind a layer, if errors are small and independent; sums and functions of
one element pass it on. It is the diagonal of the Gauss-Newton matrix with all derivatives of such functions taken as
one; where something else computes with a value, its elements count alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, Product

PASSING = (
    *("Relu", "Clip", "LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
    *("Gelu", "Mish", "Dropout", "Identity", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("Flatten", "Reshape", "Squeeze", "Add", "Sum", "Sub"),
)
"""Operators that keep channels apart; where they put positions behind channels, those of one channel follow it."""
LEAST = 1e-3
"""Share of the mean that every output is worth at least."""
ALIKE = np.ones(1)


def worths(model: Model, layers: Iterable[LinearLayer]) -> dict[Node, np.ndarray]:
    """For each of some layers what its outputs are worth [groups, M], 1 on average."""
    by_node = {layer.node: layer for layer in layers if isinstance(layer, (Convolution, Product))}
    behind: dict[Tensor, list[np.ndarray]] = {tensor: [ALIKE] for tensor in model.graph.outputs}
    found = {}
    for node in reversed(model.graph.nodes):
        layer = by_node.get(node)
        if layer is not None:
            found[node] = _resolved(_joined(behind, [layer.result]), layer.weights())
            behind.setdefault(layer.source, []).append(_through(layer, found[node]))
            continue
        passed = _joined(behind, node.outputs) if node.op in PASSING else ALIKE
        for tensor in node.inputs:
            behind.setdefault(tensor, []).append(passed)
    return found


def _joined(behind: dict[Tensor, list[np.ndarray]], tensors: Iterable[Tensor]) -> np.ndarray:
    """What all readers together see; that of one that sees elements alike hides the others."""
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


def _through(layer: Convolution | Product, worth: np.ndarray) -> np.ndarray:
    """What inputs are worth [channels]."""
    weights: np.ndarray = np.square(layer.weights()) @ worth[:, :, None]
    if isinstance(layer, Product):
        return np.asarray(weights.reshape(-1))
    taps = prod(layer.windows.kernel)
    strides = 1 if layer.windows.is_transposed else prod(layer.windows.stride)
    return np.asarray(weights.reshape(layer.groups, taps, -1).sum(axis=1).reshape(-1) / strides)
