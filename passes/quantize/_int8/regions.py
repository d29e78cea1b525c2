"""Which nodes compute in integers: layers with weights, and the nodes between them.

An int8 convolution pays by itself. An Add, a pool or a Concat pays only if its inputs are already integers and its
result is read as integers, and operators that only move data (Reshape, MaxPool, …) cost nothing there. Anywhere else a
pair of QuantizeLinear and DequantizeLinear only costs time and accuracy. So the choice is: all layers with weights, and
the largest set of other nodes that connects them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of, input_constant, input_value

ARITHMETIC = frozenset({"Add", "Mul", "AveragePool", "GlobalAveragePool", "Concat", "LeakyRelu", "Sigmoid"})
"""Operators with an integer kernel in onnxruntime and a range of their own."""


class NodeRole(enum.Enum):
    """How a node is quantized."""

    WEIGHTED = "weighted"
    ARITHMETIC = "arithmetic"
    PASSING = "passing"


@dataclass(frozen=True)
class Unit:
    """A node that can compute in integers, with the activation behind it that the range of its output replaces.

    `data` are the slots of its computed operands. `result` is its output, after `clamp` (a Relu or Clip that is its
    only reader), and lies between `low` and `high`. `axis` is the axis of the weight's output channels.
    """

    node: Node
    kind: NodeRole
    data: tuple[int, ...]
    result: Tensor
    clamp: Node | None = None
    low: float = -np.inf
    high: float = np.inf
    axis: int = 0

    @property
    def operands(self) -> list[Tensor]:
        """The computed values that the node reads as integers."""
        return [self.node.inputs[slot] for slot in self.data]

    @property
    def needs_integer_result(self) -> bool:
        """Whether onnxruntime uses the integer kernel only if the result is quantized too."""
        return not self.node.is_op("MatMul", "Gemm")


def candidates(model: Model, refuse: Callable[[Node, str], None]) -> list[Unit]:
    """Every node of the main graph that can compute in integers, in order; `refuse` gets the layers that can't."""
    outputs = set(map(id, model.graph.outputs))
    found = []
    for node in model.graph.nodes:
        unit = _unit(node, refuse)
        if unit is not None:
            found.append(_with_clamp(unit, outputs))
    return found


def _unit(node: Node, refuse: Callable[[Node, str], None]) -> Unit | None:
    if node.is_op("Conv", "Gemm", "MatMul"):
        reason = _obstacle(node)
        if reason == "":
            return Unit(node, NodeRole.WEIGHTED, (0,), node.outputs[0], axis=_channel_axis(node))
        if reason is not None:
            refuse(node, reason)
        return None
    if node.is_op(*ARITHMETIC):
        slots = tuple(i for i, tensor in enumerate(node.inputs) if constant_of(tensor) is None)
        return Unit(node, NodeRole.ARITHMETIC, slots, node.outputs[0]) if slots else None
    if _keeps_values(node) and constant_of(node.inputs[0]) is None:
        return Unit(node, NodeRole.PASSING, (0,), node.outputs[0])
    return None


def _obstacle(node: Node) -> str | None:
    """Why a layer can't be quantized; "" if it can, None if the node is not a layer with a weight."""
    weight = input_constant(node, 1)
    if weight is None or constant_of(node.inputs[0]) is not None:
        return None
    if weight.stored.dtype != np.float32:
        return f"its weight is {weight.stored.dtype}, not float32"
    if len(weight.stored.shape) != 2 and node.op != "Conv":
        return "its weight is not a matrix"
    given = [slot for slot in ops.of(node).biases if slot < len(node.inputs) and node.inputs[slot].name]
    if any(input_constant(node, slot) is None for slot in given):
        return "its bias is computed at run time"
    if node.op == "Gemm" and not _is_plain_gemm(node):
        return "the Gemm has alpha, beta, transA, or a bias that is not one number per channel"
    return ""


def _is_plain_gemm(node: Node) -> bool:
    if node.attrs.get("transA", 0) or node.attrs.get("alpha", 1.0) != 1.0:
        return False
    bias = input_value(node, 2)
    if bias is None:
        return True
    weight = input_constant(node, 1)
    assert weight is not None
    channels = weight.stored.shape[_channel_axis(node)]
    return node.attrs.get("beta", 1.0) == 1.0 and bias.shape in ((channels,), (1, channels))


def _channel_axis(node: Node) -> int:
    if node.op == "Conv" or (node.op == "Gemm" and node.attrs.get("transB", 0)):
        return 0
    return 1


def _keeps_values(node: Node) -> bool:
    """Whether the result's elements are among those of the first input, so that scale and zero point stay."""
    facts = ops.of(node)
    if facts.movement is None or facts.converts or len([out for out in node.outputs if out.name and out.outputs]) > 1:
        return False
    if node.op == "Pad":
        fill = input_value(node, 2) if len(node.inputs) > 2 and node.inputs[2].name else np.zeros(1)
        return node.attrs.get("mode", "constant") != "constant" or (fill is not None and not np.any(fill))
    if node.op == "Resize":
        return node.attrs.get("mode", "nearest") in ("nearest", "linear")
    return True


def _with_clamp(unit: Unit, outputs: Collection[int]) -> Unit:
    """The unit with the Relu or Clip behind it, if that is the only reader."""
    result = unit.result
    if unit.kind is NodeRole.PASSING or id(result) in outputs or len(result.outputs) != 1:
        return unit
    reader = result.outputs[0]
    bounds = _bounds(reader) if reader.graph is unit.node.graph else None
    if bounds is None:
        return unit
    return Unit(unit.node, unit.kind, unit.data, reader.outputs[0], reader, *bounds, axis=unit.axis)


def _bounds(node: Node) -> tuple[float, float] | None:
    """The limits of a Relu or Clip, if the lower one is 0."""
    if node.is_op("Relu"):
        return 0.0, np.inf
    if not node.is_op("Clip"):
        return None
    ends = [_clip_end(node, 1, "min"), _clip_end(node, 2, "max")]
    return (0.0, ends[1]) if ends[0] == 0.0 and ends[1] is not None and ends[1] > 0 else None


def _clip_end(node: Node, slot: int, attribute: str) -> float | None:
    if attribute in node.attrs:
        return float(node.attrs[attribute])
    value = input_value(node, slot)
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def select(units: list[Unit], left_float: Collection[Node]) -> list[Unit]:
    """The units to quantize if the nodes `left_float` stay float: layers, and the nodes that connect them."""
    chosen = {id(unit.result): unit for unit in units if unit.node not in left_float}
    while True:
        wanted = {id(tensor) for unit in chosen.values() for tensor in unit.operands}
        layers = {id(t) for unit in chosen.values() if unit.kind is NodeRole.WEIGHTED for t in unit.operands}
        kept = {
            key: unit
            for key, unit in chosen.items()
            if unit.kind is NodeRole.WEIGHTED
            or (key in wanted and any(id(t) in chosen or id(t) in layers for t in unit.operands))
        }
        if len(kept) == len(chosen):
            return list(kept.values())
        chosen = kept


def source(tensor: Tensor, chosen: dict[int, Unit]) -> Tensor:
    """The value whose scale `tensor` has: itself, or the input of the passing units that made it."""
    while (unit := chosen.get(id(tensor))) is not None and unit.kind is NodeRole.PASSING:
        tensor = unit.operands[0]
    return tensor


def observed(units: list[Unit]) -> list[str]:
    """The distinct names of the values whose ranges are needed, in the order of the graph."""
    tensors: dict[str, None] = {}
    for unit in units:
        for tensor in unit.operands:
            tensors.setdefault(tensor.name)
        if unit.kind is not NodeRole.PASSING:
            tensors.setdefault(unit.result.name)
    return [name for name in tensors if name]
