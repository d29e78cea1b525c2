"""Channels, kernel and stride of a layer, for reports."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_compress.compiler.analysis.macs import Sizes
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.runtime.shapes.sizes import UnknownSize


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
        return _of(node, sizes(node.inputs[_weight_slot(node)]))
    except (UnknownSize, IndexError):
        return Geometry()


def _weight_slot(node: Node) -> int:
    """The input with the weight; of the two matrices of a product, the right one."""
    facts = ops.of(node)
    return facts.weights[-1 if facts.family is ops.Family.PRODUCT else 0]


def _of(node: Node, shape: tuple[int, ...]) -> Geometry:
    facts = ops.of(node)
    if facts.family is ops.Family.CONVOLUTION:
        group = int(node.attrs.get("group", 1))
        channels = (shape[0], shape[1] * group) if node.op == "ConvTranspose" else (shape[1] * group, shape[0])
        return Geometry(*channels, shape[2:], _stride(node, shape), group)
    if facts.family is ops.Family.PRODUCT and facts.weights and len(shape) >= 2:
        rows, columns = shape[-2:]
        return Geometry(columns, rows) if node.attrs.get("transB") else Geometry(rows, columns)
    if facts.family is ops.Family.RECURRENT:
        inputs = shape[1] if facts.is_quantized else shape[2]  # DynamicQuantizeLSTM has its weight transposed
        return Geometry(inputs, int(node.attrs.get("hidden_size", 0)) or None)
    return Geometry()


def _stride(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(node.attrs.get("strides", (1,) * (len(shape) - 2)))
