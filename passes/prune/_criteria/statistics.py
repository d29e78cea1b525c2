"""Mean and variance of the channels that layers read, over calibration data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir.graph import Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.capture import Capture

SAMPLES = 128
"""Maximum number of calibration samples: the error of a mean over their positions is far below the loss of using it."""
TOTAL_BYTES = 1 << 25
"""Limit for the bytes of all inputs: of large inputs fewer samples suffice, since each has many positions."""
SMALL = 1e-12
"""A channel whose variance is below this share of its mean square is constant."""


@dataclass(frozen=True, eq=False)
class Channels:
    """`mean` and `variance` of each channel over samples and positions: float64 [channels]."""

    mean: np.ndarray
    variance: np.ndarray

    @property
    def is_constant(self) -> np.ndarray:
        """The channels with the same value everywhere: bool [channels]."""
        return np.asarray(self.variance <= SMALL * self.mean**2)


def summed_axis(node: Node, slot: int) -> tuple[Tensor, int] | None:
    """The value that `node` multiplies by its weight at `slot`, and the axis of it that is summed over."""
    if node.is_op("Conv", "ConvTranspose") and slot == 1:
        return node.inputs[0], 1
    if node.is_op("Gemm") and slot == 1:
        return node.inputs[0], 0 if node.attrs.get("transA") else 1
    if node.is_op("MatMul"):
        return node.inputs[1 - slot], -1 if slot == 1 else -2
    if node.is_op("LSTM", "GRU", "RNN") and slot == 1:
        return node.inputs[0], 2
    return None


def measure(model: Model, axes: Mapping[str, int], ctx: Context) -> dict[str, Channels]:
    """The statistics of these values of the main graph along these axes."""
    if not axes:
        return {}
    return ctx.remember(("statistics", tuple(axes.items())), lambda: _measured(model, axes, ctx))


def _measured(model: Model, axes: Mapping[str, int], ctx: Context) -> dict[str, Channels]:
    sample = sum(array.nbytes for array in next(ctx.data.batches(1)).values())
    data = ctx.data.take(max(4, min(SAMPLES, TOTAL_BYTES // max(1, sample))), ctx.seed)
    sums = {name: np.zeros((2, 1)) for name in axes}
    counts = dict.fromkeys(axes, 0)
    with ctx.progress("activations", len(data)) as advance:
        # One sample at a time: the activations of all layers are in memory at once.
        for arrays in Capture(model, list(axes)).batches(data, 1):
            for name, array in arrays.items():
                rows = np.moveaxis(array, axes[name], -1).reshape(-1, array.shape[axes[name]]).astype(np.float64)
                sums[name] = sums[name] + np.stack([rows.sum(0), (rows**2).sum(0)])
                counts[name] += len(rows)
            advance()
    return {name: _channels(sums[name] / max(1, counts[name])) for name in axes}


def _channels(moments: np.ndarray) -> Channels:
    mean, square = moments
    return Channels(mean, np.maximum(square - mean**2, 0.0))


def values_of(model: Model) -> set[str]:
    """Names of the values that can be measured: the inputs of the main graph and everything computed in it."""
    computed = (out for node in model.graph.nodes for out in node.outputs)
    return {tensor.name for tensor in (*computed, *model.graph.inputs) if isinstance(tensor, Variable)}
