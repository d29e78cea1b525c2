"""Nodes that scale and shift channels by constants: BatchNormalization, and the equivalent Mul, Div, Add and Sub."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.passes.simplify._analysis.facts import Facts


@dataclass(frozen=True)
class Affine:
    """y = scale · x + shift, in float64.

    Both are scalars or broadcast against x from the right as in ONNX. For BatchNormalization, whose channels
    are axis 1 at any rank, both are vectors and `is_channelwise` is set.
    """

    source: Tensor
    scale: np.ndarray
    shift: np.ndarray
    is_channelwise: bool = False

    def along(self, axis: int, rank: int, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Scale and shift as vectors [channels] along `axis` of a value of `rank`; None if another axis varies."""
        scale = self._vector(self.scale, axis, rank, channels)
        shift = self._vector(self.shift, axis, rank, channels)
        return None if scale is None or shift is None else (scale, shift)

    def _vector(self, values: np.ndarray, axis: int, rank: int, channels: int) -> np.ndarray | None:
        if self.is_channelwise:
            return values if axis == 1 and len(values) == channels else None
        if values.ndim > rank:
            return None
        full = values.reshape((1,) * (rank - values.ndim) + values.shape)
        if full.size not in (1, channels) or full.shape[axis] != full.size:
            return None
        return np.broadcast_to(full.reshape(-1), (channels,))


def scales_and_shifts(node: Node, facts: Facts) -> Affine | None:
    """The effect of Mul, Div, Add or Sub by a constant on its other input; None for other nodes."""
    if not node.is_op("Mul", "Div", "Add", "Sub") or len(node.inputs) != 2 or "axis" in node.attrs:
        return None
    for slot in (1, 0):
        values = facts.input_value(node, slot)
        if values is not None and values.dtype.kind == "f" and not (slot == 0 and node.op == "Div"):
            return _elementwise(node, slot, values.astype(np.float64))
    return None


def _elementwise(node: Node, slot: int, values: np.ndarray) -> Affine:
    one, zero = np.float64(1.0), np.float64(0.0)
    source = node.inputs[1 - slot]
    if node.op == "Mul":
        return Affine(source, values, np.asarray(zero))
    if node.op == "Div":
        with np.errstate(divide="ignore"):
            return Affine(source, 1.0 / values, np.asarray(zero))
    if node.op == "Add":
        return Affine(source, np.asarray(one), values)
    return Affine(source, np.asarray(one), -values) if slot == 1 else Affine(source, np.asarray(-one), values)


def normalizes(node: Node, facts: Facts) -> Affine | str:
    """BatchNormalization at inference, γ/√(σ²+ε) · x + β − μ·γ/√(σ²+ε); or the reason why that is not constant."""
    if node.attrs.get("training_mode") or any(out.outputs or out in facts.results for out in node.outputs[1:]):
        return "it normalizes by batch statistics"
    if not node.attrs.get("spatial", 1):
        return "it has statistics per position"
    parameters = [facts.input_value(node, slot) for slot in range(1, 5)]
    if any(values is None for values in parameters):
        return "its parameters are computed at run time"
    gamma, beta, mean, variance = (np.asarray(values, np.float64) for values in parameters)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = gamma / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
        return Affine(node.inputs[0], scale, beta - mean * scale, is_channelwise=True)
