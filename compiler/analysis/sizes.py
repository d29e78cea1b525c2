"""Shapes in whole numbers, for one sample: what the cost of a model is computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import onnx

from onnx_compress.compiler.analysis.macs import UnknownSize
from onnx_compress.compiler.ir.graph import Graph, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of

BATCH = 1


class SizeTable:
    """The shape of every tensor whose dimensions follow from the inputs' and the weights'."""

    def __init__(self, known: dict[Tensor, tuple[int, ...]]) -> None:
        self._known = known

    @classmethod
    def of(cls, model: Model, inputs: Mapping[str, Sequence[int]]) -> Self:
        """Infer them, with inputs of the shapes given; otherwise a first axis that may vary is the batch, 1."""
        proto = model.skeleton()
        _fix_inputs(proto.graph, inputs)
        known: dict[Tensor, tuple[int, ...]] = {}
        for graph, inferred in zip(model.graph.graphs(), _graphs(_inferred(proto).graph), strict=True):
            _collect(graph, inferred, known)
        return cls(known)

    def __call__(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of `tensor`. Raises UnknownSize naming it."""
        constant = constant_of(tensor)
        shape = self._known.get(tensor) if constant is None else tuple(constant.shape)
        if shape is None:
            raise UnknownSize(f"the shape of '{tensor.name}' is not known")
        return shape


def _fix_inputs(graph: onnx.GraphProto, inputs: Mapping[str, Sequence[int]]) -> None:
    """Give the inputs the sizes of one sample, the same one wherever a dimension has the same name."""
    named: dict[str, int] = {}
    for info in graph.input:
        dims = info.type.tensor_type.shape.dim
        given = inputs.get(info.name, ())
        sizes = given if len(given) == len(dims) else [BATCH] + [0] * (len(dims) - 1)
        for dim, size in zip(dims, sizes):
            if dim.dim_value <= 0 and size > 0:
                named.setdefault(dim.dim_param, size)
                dim.dim_value = size
    for info in (*graph.input, *graph.output):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param and dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]


def _inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with declarations for what can be inferred; as it is where inference gives up."""
    del proto.graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # it raises whatever its C++ raises, and a cost must never end a run
        return proto


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """The graph and its bodies in the order of `Graph.graphs`."""
    bodies = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [graph, *(inner for body in bodies for inner in _graphs(body))]


def _collect(graph: Graph, inferred: onnx.GraphProto, known: dict[Tensor, tuple[int, ...]]) -> None:
    shapes = {info.name: _whole(info) for info in (*inferred.input, *inferred.output, *inferred.value_info)}
    tensors = (*graph.inputs, *(out for node in graph.nodes for out in node.outputs))
    for tensor in tensors:
        shape = shapes.get(tensor.name)
        if shape is not None:
            known[tensor] = shape


def _whole(info: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = info.type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)
