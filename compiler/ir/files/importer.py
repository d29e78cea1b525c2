"""From protobuf to the graph, without loss.

Whatever the graph can't represent is kept as protobuf (`header`, `info`, `known`), and the exporter starts
from there. Nothing is computed, and weights are not read: they stay in the file.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from typing import Any

import onnx

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.files.decode import Decoded, decoded
from onnx_compress.compiler.ir.files.external import DataFolder
from onnx_compress.compiler.ir.graph import Constant, Dim, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.lazy import LazyTensor, numpy_dtype, size_in_bytes
from onnx_compress.compiler.ir.order import sorted_nodes

MAX_DEPTH = 64
"""Maximum nesting of bodies: no exporter produces more, and Python's stack is limited."""

Scope = ChainMap[str, Tensor]


def import_graph(
    proto: onnx.GraphProto,
    folder: DataFolder,
    outer: Scope | None = None,
    parent: Node | None = None,
    depth: int = 0,
) -> Graph:
    """Turn a GraphProto into a Graph whose tensors know their producers and consumers.

    `folder` is the folder of external data, `outer` the outer names that a body can read. Raises ModelError
    for undefined names, cycles, and tensors whose data does not fit their shape.
    """
    if depth > MAX_DEPTH:
        raise ModelError(f"subgraphs are nested deeper than {MAX_DEPTH}")
    graph = Graph(proto.name)
    graph.parent = parent
    graph.header = _graph_header(proto)
    scope: Scope = ChainMap({}) if outer is None else outer.new_child()
    weights = decoded(proto, folder)
    _import_initializers(graph, proto, folder, scope, weights)
    _import_inputs(graph, proto, scope)
    declared = {info.name: info for info in (*proto.value_info, *proto.output)}
    for node in sorted_nodes(proto, set(scope)):
        if node.output and node.output[0] in weights.outputs:
            continue
        graph.nodes.append(_import_node(node, graph, scope, declared, folder, depth))
    _import_outputs(graph, proto, scope)
    _import_declarations(graph, proto, scope)
    return graph


def _graph_header(proto: onnx.GraphProto) -> onnx.GraphProto:
    header = onnx.GraphProto()
    for field in ("name", "doc_string"):
        if proto.HasField(field):
            setattr(header, field, getattr(proto, field))
    header.quantization_annotation.extend(proto.quantization_annotation)
    header.metadata_props.extend(proto.metadata_props)
    return header


def _import_initializers(
    graph: Graph, proto: onnx.GraphProto, folder: DataFolder, scope: Scope, weights: Decoded
) -> None:
    lazy: list[tuple[str, LazyTensor | EncodedTensor]] = []
    for tensor in proto.initializer:
        lazy += weights.tensors.get(tensor.name, ())
        if tensor.name not in weights.constants:
            lazy.append((tensor.name, lazy_tensor(tensor, folder)))
    lazy += [(sparse.values.name, LazyTensor(sparse)) for sparse in proto.sparse_initializer]
    check_text(*(name for name, _ in lazy), *(info.name for info in proto.input))
    for name, stored in lazy:
        if name in scope.maps[0]:
            raise ModelError(f"initializer '{name}' is defined twice")
        scope[name] = constant = _constant(name, stored)
        graph.initializers.append(constant)


def check_text(*names: str | bytes) -> None:
    """Raise ModelError for names that are not UTF-8: protobuf returns them as bytes and can't write them again."""
    wrong = next((name for name in names if isinstance(name, bytes)), None)
    if wrong is not None:
        raise ModelError(f"the name {wrong!r} is not UTF-8: the file is damaged")


def _constant(name: str, stored: LazyTensor | EncodedTensor) -> Constant:
    constant = Constant(name, stored)
    constant.imported = (constant.dtype, constant.shape)
    return constant


def lazy_tensor(tensor: onnx.TensorProto, folder: DataFolder) -> LazyTensor:
    """A tensor of the file, to be read later; external data is located and checked now."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return LazyTensor(tensor)
    return LazyTensor(tensor, folder.locate(tensor, size_in_bytes(tensor.dims, numpy_dtype(tensor))))


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
    folder: DataFolder,
    depth: int,
) -> Node:
    attributes = (attribute.name for attribute in proto.attribute)
    check_text(proto.op_type, proto.name, proto.domain, *proto.input, *proto.output, *attributes)
    inputs = [_look_up(proto, name, scope) for name in proto.input]
    node = Node(proto.op_type, proto.name, domain=proto.domain if proto.HasField("domain") else None)
    node.graph = graph
    node.header = _node_header(proto)
    node.inputs.extend(inputs)
    for name in proto.output:
        node.outputs.append(_define(proto, name, scope, declared))
    node.alias = "" if node.name else node.layer_name()
    for attribute in proto.attribute:
        if attribute.name in node.attrs:
            raise ModelError(f"{node.label()} has two attributes '{attribute.name}': the file is damaged")
        value = _attribute(attribute, node, scope, folder, depth)
        node.attrs[attribute.name] = value
        node.known[attribute.name] = (token(value), attribute)
    return node


def token(value: Any) -> Any:
    """An object whose identity stays the same as long as the attribute's value is unchanged."""
    return value.stored if isinstance(value, Constant) else value


def _node_header(proto: onnx.NodeProto) -> onnx.NodeProto | None:
    header = onnx.NodeProto()
    for field in ("name", "doc_string", "overload"):
        if proto.HasField(field) and (field != "name" or not proto.name):
            setattr(header, field, getattr(proto, field))
    header.metadata_props.extend(proto.metadata_props)
    header.device_configurations.extend(proto.device_configurations)
    return header if header.ByteSize() else None


def _look_up(proto: onnx.NodeProto, name: str, scope: Scope) -> Tensor:
    if not name:
        return Variable("")
    if name in scope:
        return scope[name]
    raise ModelError(
        f"node {proto.op_type} '{proto.name}' reads '{name}', which the model does not define: the file is damaged"
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


def _import_outputs(graph: Graph, proto: onnx.GraphProto, scope: Scope) -> None:
    for info in proto.output:
        if info.name not in scope:
            raise ModelError(f"graph output '{info.name}' is not computed by any node: the file is damaged")
        tensor = scope[info.name]
        if tensor.info is None and info.name in scope.maps[0]:
            _declare(tensor, info)
        graph.output_infos[info.name] = info
        graph.outputs.append(tensor)


def _import_declarations(graph: Graph, proto: onnx.GraphProto, scope: Scope) -> None:
    graph.declared = tuple(proto.value_info)
    graph.loose = frozenset(info.name for info in proto.value_info if info.name not in scope.maps[0])
    for info in proto.value_info:
        tensor = scope.maps[0].get(info.name)
        if tensor is not None and tensor.info is None:
            _declare(tensor, info)


def _declare(tensor: Tensor, info: onnx.ValueInfoProto) -> None:
    tensor.info = info
    if isinstance(tensor, Variable):
        tensor.imported = tensor.dtype, tensor.shape = declared_type(info)


def declared_type(info: onnx.ValueInfoProto) -> tuple[int | None, tuple[Dim, ...] | None]:
    """Element type (onnx.TensorProto's number) and shape of a declaration; None for what it leaves open."""
    kind = info.type.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return None, None
    type_proto = getattr(info.type, kind)
    shape = tuple(_dim(d) for d in type_proto.shape.dim) if type_proto.HasField("shape") else None
    return type_proto.elem_type or None, shape


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    check_text(dim.dim_param)
    return dim.dim_param or None


def _attribute(attribute: onnx.AttributeProto, node: Node, scope: Scope, folder: DataFolder, depth: int) -> Any:
    """The attribute as a Python value, lists as tuples; kinds without a Python equivalent stay AttributeProto."""
    kind = attribute.type
    if kind == onnx.AttributeProto.GRAPH:
        return import_graph(attribute.g, folder, scope, node, depth + 1)
    if kind == onnx.AttributeProto.GRAPHS:
        return tuple(import_graph(body, folder, scope, node, depth + 1) for body in attribute.graphs)
    if kind == onnx.AttributeProto.TENSOR:
        name = attribute.t.name or (node.outputs[0].name if node.outputs else "")
        return _constant(name, lazy_tensor(attribute.t, folder))
    if kind in _PLAIN:
        return _PLAIN[kind](attribute)
    _refuse_external(attribute, node)
    return attribute


_PLAIN: dict[int, Callable[[onnx.AttributeProto], Any]] = {
    onnx.AttributeProto.STRING: lambda attribute: _text(attribute.s),
    onnx.AttributeProto.STRINGS: lambda attribute: tuple(_text(s) for s in attribute.strings),
    onnx.AttributeProto.INT: lambda attribute: attribute.i,
    onnx.AttributeProto.INTS: lambda attribute: tuple(attribute.ints),
    onnx.AttributeProto.FLOAT: lambda attribute: attribute.f,
    onnx.AttributeProto.FLOATS: lambda attribute: tuple(attribute.floats),
}


def _refuse_external(attribute: onnx.AttributeProto, node: Node) -> None:
    """Refuse external data in an attribute kept as protobuf: its location would be wrong after saving elsewhere."""
    sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
    parts = [*attribute.tensors, *(s.values for s in sparse), *(s.indices for s in sparse)]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in parts):
        raise ModelError(f"{node.label()}: attribute '{attribute.name}' has external data, which is not supported")


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
