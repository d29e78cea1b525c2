"""From the graph back to protobuf, starting from the messages of the input file.

An unchanged part is written unchanged. `store` decides how a weight is written, so the same walk serves
embedded weights, external data, and skeletons without weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_compress.compiler.ir.files.importer import token
from onnx_compress.compiler.ir.files.lower import Lowered, PartConstant, lowered
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Stored, Tensor
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.storage.program import tensor

Store: TypeAlias = Callable[[Constant], onnx.TensorProto]


def export_graph(
    graph: Graph, store: Store, into: onnx.GraphProto | None = None, *, is_dense: bool = False
) -> onnx.GraphProto:
    """The GraphProto of `graph`: nodes, initializers and declarations in file order, new ones at the end.

    A weight is written in the form in which it is stored, or with `is_dense` as a plain initializer.
    `into` is an empty message to fill, for a graph inside a larger message: weights are then copied only once.
    """
    proto = onnx.GraphProto() if into is None else into
    proto.CopyFrom(graph.header)
    weights = Lowered(graph.initializers) if is_dense else lowered(graph)
    proto.node.extend(weights.nodes)
    for node in graph.nodes:
        _export_node(node, proto.node.add(), store, is_dense)
    for constant in weights.constants:
        if isinstance(constant.stored, LazyTensor) and constant.stored.sparse is not None:
            _rename_into(proto.sparse_initializer.add(), constant.stored.sparse, constant.name)
        else:
            proto.initializer.append(store(constant))
    proto.input.extend(export_info(tensor) for tensor in graph.inputs)
    proto.output.extend(export_info(tensor, graph.output_infos.get(tensor.name)) for tensor in graph.outputs)
    _export_declarations(graph, proto)
    return proto


def _rename_into(target: onnx.SparseTensorProto, source: onnx.SparseTensorProto, name: str) -> None:
    target.CopyFrom(source)
    if target.values.name != name:
        target.values.name = name


def embedded(constant: Constant) -> onnx.TensorProto:
    """The tensor with its data; the file's own message if unchanged."""
    stored = constant.stored
    if isinstance(constant, PartConstant):
        return tensor(constant.name, constant.values)
    if isinstance(stored, LazyTensor) and not stored.is_sparse and stored.external is None:
        if stored.tensor.name == constant.name:
            return stored.tensor
        proto = onnx.TensorProto()
        proto.CopyFrom(stored.tensor)
        proto.name = constant.name
        return proto
    proto = numpy_helper.from_array(np.asarray(constant.values, order="C"), constant.name)
    _keep_notes(stored, proto)
    return proto


def _keep_notes(stored: Stored, proto: onnx.TensorProto) -> None:
    """Copy a tensor's documentation and metadata to its new form."""
    if isinstance(stored, LazyTensor):
        if stored.tensor.HasField("doc_string"):
            proto.doc_string = stored.tensor.doc_string
        proto.metadata_props.extend(stored.tensor.metadata_props)


def placeholder(constant: Constant, limit: int) -> onnx.TensorProto:
    """The tensor, without its data if that exceeds `limit` bytes: for tools that need only types and shapes."""
    if constant.nbytes <= limit:
        return embedded(constant)
    proto = onnx.TensorProto(name=constant.name, dims=constant.stored.shape)
    proto.data_type = element_type(constant.stored.dtype)
    proto.data_location = onnx.TensorProto.EXTERNAL
    proto.external_data.add(key="location", value="absent")
    return proto


def placeholders_as_inputs(graph: onnx.GraphProto, main: onnx.GraphProto) -> None:
    """Turn the placeholders among the initializers of `graph` into inputs of `main`, unless they are declared there."""
    declared = {info.name for info in main.input}
    kept = [tensor for tensor in graph.initializer if tensor.data_location != onnx.TensorProto.EXTERNAL]
    heavy = [tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    new = [tensor for tensor in heavy if tensor.name not in declared]
    infos = [onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in new]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    main.input.extend(infos)


def external_entry(constant: Constant, location: str, offset: int) -> onnx.TensorProto:
    """The tensor with its data in the file `location` at `offset`."""
    proto = onnx.TensorProto(name=constant.name, dims=constant.stored.shape)
    proto.data_type = element_type(constant.stored.dtype)
    proto.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(constant.nbytes))):
        proto.external_data.add(key=key, value=value)
    _keep_notes(constant.stored, proto)
    return proto


def element_type(dtype: Any) -> int:
    """ONNX's number for an element type, given as that number or as a NumPy type."""
    return dtype if isinstance(dtype, int) else int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def export_info(tensor: Tensor, info: onnx.ValueInfoProto | None = None) -> onnx.ValueInfoProto:
    """The declaration of a value: `info` (default: the file's own) if type and shape are unchanged.

    Otherwise type and shape are updated, and everything else in the declaration is kept.
    """
    info = tensor.info if info is None else info
    dtype, shape = tensor.dtype, tensor.shape
    if info is not None and (tensor.imported == (dtype, shape) or _is_not_tensor(info)):
        return _named(info, tensor.name)
    made = onnx.ValueInfoProto(name=tensor.name)
    if dtype is not None:
        dims = shape if shape is None else [int(d) if isinstance(d, np.integer) else d for d in shape]
        made.type.CopyFrom(onnx.helper.make_tensor_type_proto(element_type(dtype), dims))
    if info is not None:
        _keep_remarks(info, made)
    return made


def _keep_remarks(info: onnx.ValueInfoProto, made: onnx.ValueInfoProto) -> None:
    if info.HasField("doc_string"):
        made.doc_string = info.doc_string
    made.metadata_props.extend(info.metadata_props)
    if info.type.HasField("denotation"):
        made.type.denotation = info.type.denotation
    before, now = info.type.tensor_type.shape.dim, made.type.tensor_type.shape.dim
    if len(before) == len(now):
        for old, new in zip(before, now, strict=True):
            if old.HasField("denotation"):
                new.denotation = old.denotation


def _named(info: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    if info.name == name:
        return info
    renamed = onnx.ValueInfoProto()
    renamed.CopyFrom(info)
    renamed.name = name
    return renamed


def _is_not_tensor(info: onnx.ValueInfoProto) -> bool:
    return info.type.WhichOneof("value") not in (None, "tensor_type", "sparse_tensor_type")


def _export_declarations(graph: Graph, proto: onnx.GraphProto) -> None:
    """Write the declarations of inner values, from the file or from a pass."""
    made = [out for node in graph.nodes for out in node.outputs if out.name]
    present = {tensor.name: tensor for tensor in (*graph.initializers, *graph.inputs, *made)}
    for info in graph.declared:
        tensor = present.get(info.name)
        if tensor is None and info.name in graph.loose:
            proto.value_info.append(info)
        elif tensor is not None and _is_declared(tensor, info):
            proto.value_info.append(export_info(tensor, info))
    known = {info.name for info in (*graph.declared, *proto.input, *proto.output)}
    proto.value_info.extend(
        export_info(out) for out in made if out.name not in known and out.dtype is not None and out.shape is not None
    )


def _is_declared(tensor: Tensor, info: onnx.ValueInfoProto) -> bool:
    """Whether the declaration is still written: not after a pass removed a type that it could not determine."""
    return tensor.dtype is not None or _is_not_tensor(info) or tensor.imported == (None, tensor.shape)


def _export_node(node: Node, proto: onnx.NodeProto, store: Store, is_dense: bool) -> None:
    if node.header is not None:
        proto.CopyFrom(node.header)
    proto.op_type = node.op
    proto.input.extend(tensor.name for tensor in node.inputs)
    proto.output.extend(tensor.name for tensor in node.outputs)
    if node.name:
        proto.name = node.name
    if node.domain is not None:
        proto.domain = node.domain
    for name, value in node.attrs.items():
        proto.attribute.append(_export_attribute(node, name, value, store, is_dense))


def _export_attribute(node: Node, name: str, value: Any, store: Store, is_dense: bool) -> onnx.AttributeProto:
    before, file = node.known.get(name, (None, None))
    if isinstance(value, Graph) or (isinstance(value, tuple) and value and isinstance(value[0], Graph)):
        return _export_bodies(name, value, file, store, is_dense)
    is_known = file is not None and before is token(value)
    if isinstance(value, Constant) and (store is not embedded or not is_known or _has_external_data(value)):
        proto = onnx.AttributeProto(name=name, type=onnx.AttributeProto.TENSOR, t=store(value))
        # In the compiler the tensor is named after the node's output; in the file it keeps its own name, often empty.
        proto.t.ClearField("name")
        if file is not None and file.t.HasField("name"):
            proto.t.name = file.t.name
        return proto
    if file is not None and is_known:
        return file
    if isinstance(value, onnx.AttributeProto):
        return value
    return onnx.helper.make_attribute(name, value, attr_type=_kind_of_empty(file, value))


def _export_bodies(
    name: str, value: Any, file: onnx.AttributeProto | None, store: Store, is_dense: bool
) -> onnx.AttributeProto:
    proto = onnx.AttributeProto(name=name)
    if file is not None and file.HasField("doc_string"):
        proto.doc_string = file.doc_string
    if isinstance(value, Graph):
        proto.type = onnx.AttributeProto.GRAPH
        export_graph(value, store, proto.g, is_dense=is_dense)
    else:
        proto.type = onnx.AttributeProto.GRAPHS
        for body in value:
            export_graph(body, store, proto.graphs.add(), is_dense=is_dense)
    return proto


def _has_external_data(value: Any) -> bool:
    return isinstance(value, Constant) and isinstance(value.stored, LazyTensor) and value.stored.external is not None


def _kind_of_empty(file: onnx.AttributeProto | None, value: Any) -> int | None:
    """The type of an empty list, which it does not have itself: the attribute's in the file, or integers."""
    if value not in ((), []):
        return None
    return file.type if file is not None else onnx.AttributeProto.INTS
