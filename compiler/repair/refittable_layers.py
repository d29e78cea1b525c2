"""Find the layers of a model that can be refitted, and say why others can't."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import readers_of
from onnx_compress.compiler.ir import edit, ops
from onnx_compress.compiler.ir.graph import Constant, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, Product, Shift
from onnx_compress.compiler.repair.windows import Windows

MOST_UNKNOWNS = 5120
"""Most inputs per output for which the normal equations are solved: 200 MB each."""


@dataclass(frozen=True)
class Seen:
    """Shape and element type of a value in a run."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class View:
    """What is known of the model: `static` values depend on no input, `seen` are the values of one run by name."""

    model: Model
    static: set[Tensor]
    seen: Mapping[str, Seen]

    def sole_reader(self, value: Tensor) -> Node | None:
        """The one node that reads `value`, once; None where there are others, or it is an output."""
        readers = edit.uses(self.model, value)
        return readers[0][0] if len(readers) == 1 and not edit.is_output(self.model, value) else None

    def is_computed(self, tensor: Tensor) -> bool:
        """Whether a tensor is present and depends on the inputs."""
        return bool(tensor.name) and tensor not in self.static


def has_weight(node: Node, static: set[Tensor]) -> bool:
    """Whether `node` is one of `LAYERS` and at least one of its factors is stored, not computed."""
    return node.is_op(*LAYERS) and any(node.inputs[slot] in static for slot in ops.of(node).weights)


def recognize(node: Node, view: View) -> LinearLayer | str:
    """The layer of `node`, one of `LAYERS`, or why it can't be refitted."""
    if not has_weight(node, view.static):
        return "it has no stored weight"
    return LAYERS[node.op](node, view)


def _convolution(node: Node, view: View) -> LinearLayer | str:
    ends = _ends(node.inputs[0], node.outputs[0], view)
    if isinstance(ends, str):
        return ends
    bias = _bias_slot(node, 2)
    weight = _free_weight(node, 1)
    if bias is None or weight is None or len(weight.shape) < 3:
        return _shift(node, ends[1], 1, bias, view)
    windows = Windows.of(node, tuple(weight.shape[2:]))
    layer = Convolution(node, *ends, 1, bias, weight.values.dtype, windows, int(node.attrs.get("group", 1)))
    return _sized(layer, view)


def _gemm(node: Node, view: View) -> LinearLayer | str:
    if not view.is_computed(node.inputs[0]):
        return "its weight is the left operand"
    ends = _ends(node.inputs[0], node.outputs[0], view)
    if isinstance(ends, str):
        return ends
    scale, shift_scale = float(node.attrs.get("alpha", 1.0)), float(node.attrs.get("beta", 1.0))
    if len(node.inputs) > 2 and node.inputs[2].name and not _is_row(input_constant(node, 2)):
        return "its bias differs from row to row"
    if scale == 0 or shift_scale == 0:
        return "its alpha or beta is zero"
    bias = (node, 2)
    weight = _free_weight(node, 1)
    if weight is None:
        return _shift(node, ends[1], -1, bias, view, shift_scale)
    turned = bool(node.attrs.get("transA", 0)), bool(node.attrs.get("transB", 0))
    return _sized(Product(node, *ends, -1, bias, weight.values.dtype, 1, scale, shift_scale, *turned), view)


def _matmul(node: Node, view: View) -> LinearLayer | str:
    slot = 0 if view.is_computed(node.inputs[1]) else 1
    bias, result = _added_bias(node.outputs[0], view) if slot == 1 else (None, node.outputs[0])
    ends = _ends(node.inputs[1 - slot], result, view)
    if isinstance(ends, str):
        return ends
    weight, axis = _free_weight(node, slot), -1 if slot == 1 else -2
    if weight is None:
        return _shift(node, ends[1], axis, bias, view)
    if len(weight.shape) != 2 or len(view.seen[ends[0].name].shape) < 2:
        return f"its weight has the shape {list(weight.shape)}, not that of one matrix"
    return _sized(Product(node, *ends, axis, bias, weight.values.dtype, slot), view)


def _ends(source: Tensor, result: Tensor, view: View) -> tuple[Variable, Variable] | str:
    """The layer's input and output, or why it can't be refitted at all."""
    seen = [view.seen.get(tensor.name) for tensor in (source, result)]
    if not isinstance(source, Variable) or not isinstance(result, Variable) or None in seen:
        return "its input or output could not be captured in a run"
    if any(one is None or one.dtype.kind != "f" for one in seen):
        return "it does not compute in floats"
    reader = view.sole_reader(result)
    is_read_as_integers = reader is not None and reader.is_op("QuantizeLinear")
    if is_read_as_integers or (source.inputs and source.inputs[0].is_op("DequantizeLinear")):
        return "it computes in integers"
    return source, result


def _free_weight(node: Node, slot: int) -> Constant | None:
    """The weight, if it is a plain constant and new values lose no structure of it."""
    constant = input_constant(node, slot)
    if constant is None or len(readers_of(node.inputs[slot])) > 1 or _is_tied(constant):
        return None
    return constant


def _bias_slot(node: Node, slot: int) -> tuple[Node, int] | None:
    """The node and slot of the bias, if it is constant or absent."""
    is_present = slot < len(node.inputs) and bool(node.inputs[slot].name)
    return None if is_present and input_constant(node, slot) is None else (node, slot)


def _added_bias(result: Tensor, view: View) -> tuple[tuple[Node, int] | None, Tensor]:
    """The Add behind a MatMul that adds one constant per column, and its output; otherwise the MatMul's output."""
    reader = view.sole_reader(result)
    if reader is None or not reader.is_op("Add"):
        return None, result
    slot = 1 if reader.inputs[0] is result else 0
    constant = input_constant(reader, slot)
    if constant is None or not _is_row(constant):
        return None, result
    return (reader, slot), reader.outputs[0]


def _is_row(constant: Constant | None) -> bool:
    """Whether a constant is one number per column, or one for all."""
    return constant is not None and all(size == 1 for size in constant.shape[:-1])


def _is_tied(constant: Constant) -> bool:
    """Whether the values have a structure that a solution would not keep: a period, or a scale per axis."""
    known = constant.structure
    return known is not None and (known.period is not None or known.scale is not None)


def _shift(
    node: Node, result: Variable, axis: int, bias: tuple[Node, int] | None, view: View, scale: float = 1.0
) -> LinearLayer | str:
    """The layer with only its bias free."""
    if bias is None:
        return "its weights can't change, and it has no bias of its own"
    seen = view.seen[result.name]
    return Shift(node, result, result, axis, bias, seen.dtype, seen.shape[axis], scale)


def _sized(layer: Convolution | Product, view: View) -> LinearLayer | str:
    """The layer; with too many unknowns, the layer with only its bias free."""
    if layer.weights().shape[1] <= MOST_UNKNOWNS:
        return layer
    scale = layer.shift_scale if isinstance(layer, Product) else 1.0
    return _shift(layer.node, layer.result, layer.axis, layer.bias, view, scale)


LAYERS: dict[str, Callable[[Node, View], LinearLayer | str]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
"""How the layers of each operator are recognized."""
