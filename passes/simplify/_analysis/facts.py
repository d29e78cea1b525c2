"""Certain facts about the values of a graph: their types, shapes and constants.

Facts follow only from the graph's inputs and weights. Declarations of inner values are ignored: exporters
write the shapes of the traced example, and an exact rewrite must hold at every batch size. A fact about a
tensor stays true while exact rules rewrite the graph around it, because a surviving tensor keeps its value.
"""

from __future__ import annotations

import numpy as np
import onnx

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.files.exporter import element_type
from onnx_compress.compiler.ir.files.importer import declared_type
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Shape, Tensor
from onnx_compress.compiler.ir.lazy import LazyTensor, size_in_bytes
from onnx_compress.compiler.ir.model import LEAST_IR_OF_DEFAULTS, Model
from onnx_compress.compiler.ir.weights import constant_of

READABLE = 1 << 16
"""Maximum size in bytes of a constant whose values are read to recognize a rewrite (ones, zeros, shapes)."""
LARGE = 1 << 26
"""Maximum size in bytes of a weight that is rewritten."""


class Facts:
    """Types, shapes and outputs of `model` at construction, by tensor.

    A dimension is a number, a name (equal names mean equal sizes) or None.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.results = {out for graph in model.graphs() for out in graph.outputs}
        has_defaults = model.header.ir_version >= LEAST_IR_OF_DEFAULTS
        self._defaults = {tensor for graph in model.graphs() for tensor in graph.inputs if has_defaults}
        self.foldable = LARGE if model.weight_bytes() < 8 * LARGE else LARGE // 64
        """Maximum size in bytes of a constant read for folding; smaller for large models."""
        self._known: dict[Tensor, tuple[int | None, Shape | None]] = {}
        self._collect(model.graph, _inferred(model))

    def _collect(self, graph: Graph, proto: onnx.GraphProto) -> None:
        infos = {info.name: info for info in (*proto.value_info, *proto.input, *proto.output)}
        for tensor in (*graph.inputs, *(out for node in graph.nodes for out in node.outputs)):
            if tensor.name in infos:
                self._known[tensor] = declared_type(infos[tensor.name])
        for node, twin in zip(graph.nodes, proto.node, strict=True):
            inner = {a.name: a.g for a in twin.attribute if a.type == onnx.AttributeProto.GRAPH}
            for name, body in node.attrs.items():
                if isinstance(body, Graph):
                    self._collect(body, inner[name])

    def type(self, tensor: Tensor) -> int | None:
        """ONNX's number of the element type; None if uncertain."""
        if isinstance(tensor, Constant):
            return element_type(tensor.stored.dtype)
        return self._known.get(tensor, (None, None))[0]

    def shape(self, tensor: Tensor) -> Shape | None:
        """The dimensions; None if not even the rank is certain."""
        if isinstance(tensor, Constant):
            return tuple(tensor.stored.shape)
        return self._known.get(tensor, (None, None))[1]

    def same_shape(self, first: Tensor, second: Tensor) -> bool:
        """Whether two values certainly have equal shapes."""
        shape = self.shape(first)
        return shape is not None and None not in shape and shape == self.shape(second)

    def constant(self, tensor: Tensor) -> Constant | None:
        """The constant that `tensor` always equals; None for other tensors.

        A default that callers may override is not constant. A sparse initializer is left out, because it would grow.
        """
        found = constant_of(tensor)
        if found is None or found in self._defaults:
            return None
        return None if isinstance(found.stored, LazyTensor) and found.stored.is_sparse else found

    def value(self, tensor: Tensor, limit: int = READABLE) -> np.ndarray | None:
        """The array that `tensor` always equals; None if it is computed or above `limit` bytes."""
        found = self.constant(tensor)
        return found.values if found is not None and found.nbytes <= limit else None

    def input_value(self, node: Node, slot: int) -> np.ndarray | None:
        """The array at input `slot`; None if it is absent, computed or too large to be read."""
        return self.value(node.inputs[slot]) if has_input(node, slot) else None

    def nbytes(self, tensor: Tensor) -> int | None:
        """Bytes of the value as an initializer; None if type or shape are uncertain."""
        kind, shape = self.type(tensor), self.shape(tensor)
        if kind is None or shape is None:
            return None
        sizes = [dim for dim in shape if isinstance(dim, int)]
        if len(sizes) < len(shape):
            return None
        return size_in_bytes(sizes, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)))

    def is_alone(self, tensor: Tensor) -> bool:
        """Whether `tensor` is read by exactly one input of one node, and is not an output."""
        return tensor not in self.results and len(edit.uses(self.model, tensor)) == 1


def has_input(node: Node, slot: int) -> bool:
    """Whether the optional input `slot` is given."""
    return slot < len(node.inputs) and bool(node.inputs[slot].name)


def _inferred(model: Model) -> onnx.GraphProto:
    """The graph with the types and shapes that ONNX's own inference derives from inputs and weights."""
    proto = model.skeleton(is_dense=True)
    _forget_declared(proto.graph)
    inputs = {info.name for info in proto.graph.input if proto.ir_version >= LEAST_IR_OF_DEFAULTS}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in inputs]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    for info in proto.graph.input:
        _name_free_dims(info)
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except Exception:  # onnx's exceptions have no common base; the declarations of the inputs still hold
        return proto.graph


def _forget_declared(graph: onnx.GraphProto, *, is_body: bool = False) -> None:
    del graph.value_info[:]
    for info in (*graph.output, *(graph.input if is_body else ())):
        info.ClearField("type")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _forget_declared(attribute.g, is_body=True)


def _name_free_dims(info: onnx.ValueInfoProto) -> None:
    """Give each unnamed dimension a unique name, so that inference can follow it."""
    if info.type.WhichOneof("value") != "tensor_type":
        return
    for axis, dim in enumerate(info.type.tensor_type.shape.dim):
        if not dim.dim_param and not (dim.HasField("dim_value") and dim.dim_value >= 0):
            dim.dim_param = f"{info.name}[{axis}]"
