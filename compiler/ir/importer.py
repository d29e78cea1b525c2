"""From the protobuf to the graph, losing nothing.

Whatever the graph has no place for stays beside it as protobuf (`header`, `info`, `known`), and the
exporter starts from there. Nothing is computed or read: a weight stays in the file.
"""

from __future__ import annotations

from collections import ChainMap
from pathlib import Path
from typing import Any

import onnx

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import external
from onnx_compress.compiler.ir.graph import Constant, Dim, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.lazy import LazyTensor, numpy_dtype, size_in_bytes
from onnx_compress.compiler.ir.order import sorted_nodes

MAX_DEPTH = 64
"""Bodies nested deeper than this are refused: no exporter makes them, and Python's own stack is finite."""

Scope = ChainMap[str, Tensor]


def import_graph(
    proto: onnx.GraphProto,
    folder: Path | None,
    outer: Scope | None = None,
    parent: Node | None = None,
    depth: int = 0,
) -> Graph:
    """Turn a GraphProto into a Graph whose tensors know their producers and consumers.

    `folder` is where external data may lie, `outer` the names a body sees from around it. Raises
    ModelError for names that nothing defines, cycles, and tensors whose data does not fit their shape.
    """
    if depth > MAX_DEPTH:
        raise ModelError(f"subgraphs are nested deeper than {MAX_DEPTH}")
    graph = Graph(proto.name)
    graph.parent = parent
    graph.header = _graph_header(proto)
    scope: Scope = ChainMap({}) if outer is None else outer.new_child()
    _import_initializers(graph, proto, folder, scope)
    _import_inputs(graph, proto, scope)
    declared = {info.name: info for info in proto.value_info}
    graph.value_order = [info.name for info in proto.value_info]
    for output in proto.output:
        declared[output.name] = output
    for node in sorted_nodes(proto, set(scope)):
        graph.nodes.append(_import_node(node, graph, scope, declared, folder, depth))
    graph.outputs = [_output(graph, info, scope) for info in proto.output]
    _attach_infos(graph, declared, scope)
    return graph


def _graph_header(proto: onnx.GraphProto) -> onnx.GraphProto:
    header = onnx.GraphProto(name=proto.name)
    if proto.HasField("doc_string"):
        header.doc_string = proto.doc_string
    header.quantization_annotation.extend(proto.quantization_annotation)
    header.metadata_props.extend(proto.metadata_props)
    return header


def _import_initializers(graph: Graph, proto: onnx.GraphProto, folder: Path | None, scope: Scope) -> None:
    for tensor in (*proto.initializer, *proto.sparse_initializer):
        name = tensor.name if isinstance(tensor, onnx.TensorProto) else tensor.values.name
        if name in scope.maps[0]:
            raise ModelError(f"initializer '{name}' is defined twice")
        constant = Constant(name, lazy_tensor(tensor, folder))
        graph.initializers.append(constant)
        scope[name] = constant


def lazy_tensor(tensor: onnx.TensorProto | onnx.SparseTensorProto, folder: Path | None) -> LazyTensor:
    """A tensor of the file as it will be read later; external data is located and checked now."""
    if isinstance(tensor, onnx.SparseTensorProto) or tensor.data_location != onnx.TensorProto.EXTERNAL:
        return LazyTensor(tensor)
    return LazyTensor(tensor, external.locate(tensor, folder, size_in_bytes(tensor.dims, numpy_dtype(tensor))))


def _import_inputs(graph: Graph, proto: onnx.GraphProto, scope: Scope) -> None:
    for info in proto.input:
        default = scope.maps[0].get(info.name)
        if isinstance(default, Variable):
            raise ModelError(f"graph input '{info.name}' is declared twice")
        tensor = default if default is not None else Variable(info.name)
        _declare(tensor, info)
        scope[info.name] = tensor
        graph.inputs.append(tensor)


def _import_node(
    proto: onnx.NodeProto,
    graph: Graph,
    scope: Scope,
    declared: dict[str, onnx.ValueInfoProto],
    folder: Path | None,
    depth: int,
) -> Node:
    inputs = [_look_up(proto, name, scope) for name in proto.input]
    node = Node(proto.op_type, proto.name, domain=proto.domain if proto.HasField("domain") else None)
    node.graph = graph
    node.header = _node_header(proto)
    node.inputs.extend(inputs)
    for name in proto.output:
        node.outputs.append(_define(proto, name, scope, declared))
    for attribute in proto.attribute:
        value = _attribute(attribute, node, scope, folder, depth)
        node.attrs[attribute.name] = value
        if not isinstance(value, Graph):
            node.known[attribute.name] = (value, attribute)
    return node


def _node_header(proto: onnx.NodeProto) -> onnx.NodeProto | None:
    header = onnx.NodeProto()
    if proto.HasField("doc_string"):
        header.doc_string = proto.doc_string
    if proto.HasField("overload"):
        header.overload = proto.overload
    header.metadata_props.extend(proto.metadata_props)
    header.device_configurations.extend(proto.device_configurations)
    return header if header.ByteSize() else None


def _look_up(proto: onnx.NodeProto, name: str, scope: Scope) -> Tensor:
    if not name:
        return Variable("")
    if name in scope:
        return scope[name]
    raise ModelError(
        f"node {proto.op_type} '{proto.name}' reads '{name}', which nothing in the model defines: the file is damaged"
    )


def _define(proto: onnx.NodeProto, name: str, scope: Scope, declared: dict[str, onnx.ValueInfoProto]) -> Variable:
    variable = Variable(name)
    if not name:
        return variable
    if name in scope.maps[0]:
        raise ModelError(f"node {proto.op_type} '{proto.name}' defines '{name}' a second time")
    if name in declared:
        _declare(variable, declared[name])
    scope[name] = variable
    return variable


def _output(graph: Graph, info: onnx.ValueInfoProto, scope: Scope) -> Tensor:
    if info.name not in scope:
        raise ModelError(f"graph output '{info.name}' is computed by no node: the file is damaged")
    tensor = scope[info.name]
    _declare(tensor, info)
    return tensor


def _attach_infos(graph: Graph, declared: dict[str, onnx.ValueInfoProto], scope: Scope) -> None:
    for name in graph.value_order:
        tensor = scope.maps[0].get(name)
        if tensor is None:
            graph.loose_values[name] = declared[name]
        elif tensor.info is None:
            _declare(tensor, declared[name])


def _declare(tensor: Tensor, info: onnx.ValueInfoProto) -> None:
    tensor.info = info
    if isinstance(tensor, Variable):
        tensor.dtype, tensor.shape = declared_type(info)


def declared_type(info: onnx.ValueInfoProto) -> tuple[int | None, tuple[Dim, ...] | None]:
    """Element type (onnx.TensorProto's number) and shape that a declaration gives; None where it says nothing."""
    kind = info.type.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return None, None
    type_proto = getattr(info.type, kind)
    shape = tuple(_dim(d) for d in type_proto.shape.dim) if type_proto.HasField("shape") else None
    return type_proto.elem_type or None, shape


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None


def _attribute(attribute: onnx.AttributeProto, node: Node, scope: Scope, folder: Path | None, depth: int) -> Any:
    """A Python value, immutable where it is a list; kinds without one stay AttributeProto."""
    kind = attribute.type
    if kind == onnx.AttributeProto.GRAPH:
        return import_graph(attribute.g, folder, scope, node, depth + 1)
    if kind == onnx.AttributeProto.TENSOR:
        return Constant(attribute.t.name, lazy_tensor(attribute.t, folder))
    if kind == onnx.AttributeProto.STRING:
        return _text(attribute.s)
    if kind == onnx.AttributeProto.STRINGS:
        return tuple(_text(s) for s in attribute.strings)
    if kind in (onnx.AttributeProto.INT, onnx.AttributeProto.FLOAT):
        return attribute.i if kind == onnx.AttributeProto.INT else attribute.f
    if kind in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return tuple(attribute.ints if kind == onnx.AttributeProto.INTS else attribute.floats)
    return attribute


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
