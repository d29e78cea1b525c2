"""Channels, kernel and stride of a layer, for reports."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_compress.compiler.analysis.macs import Sizes
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.runtime.shapes.sizes import UnknownSize

_WEIGHT_SLOT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
_CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv", "FusedConv", "DeformConv")
_PRODUCTS = ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "FusedGemm", "FusedMatMul", "QGemm")
_RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class Geometry:
    """Channels, kernel and stride; None or an empty tuple if the operator has none or they are unknown."""

    in_channels: int | None = None
    out_channels: int | None = None
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    group: int = 1

    @property
    def channels(self) -> str:
        """The channels as '64→128'; empty if the layer has none."""
        if self.in_channels is None or self.out_channels is None:
            return ""
        return f"{self.in_channels}→{self.out_channels}"


def geometry(node: Node, sizes: Sizes) -> Geometry:
    """The geometry of a node, from its weight and attributes."""
    if node.op == "MatMulNBits":
        return Geometry(int(node.attrs["K"]), int(node.attrs["N"]))
    try:
        shape = sizes(node.inputs[_WEIGHT_SLOT.get(node.op, 1)])
        return _of(node, shape)
    except (UnknownSize, IndexError):
        return Geometry()


def _of(node: Node, shape: tuple[int, ...]) -> Geometry:
    if node.op in _CONVOLUTIONS:
        group = int(node.attrs.get("group", 1))
        return Geometry(shape[1] * group, shape[0], shape[2:], _stride(node, shape), group)
    if node.op == "ConvTranspose":
        group = int(node.attrs.get("group", 1))
        return Geometry(shape[0], shape[1] * group, shape[2:], _stride(node, shape), group)
    if node.op in _PRODUCTS and len(shape) >= 2:
        rows, columns = shape[-2:]
        return Geometry(columns, rows) if node.attrs.get("transB") else Geometry(rows, columns)
    if node.op in _RECURRENT:
        return Geometry(shape[2], int(node.attrs.get("hidden_size", 0)) or None)
    return Geometry()


def _stride(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(node.attrs.get("strides", (1,) * (len(shape) - 2)))
