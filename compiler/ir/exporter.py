"""From the graph back to the protobuf, starting from what the file said.

A part that nothing changed is written as it came. `store` decides how a weight is written, so that the same
walk serves embedded weights, external data, and skeletons without weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.importer import declared_type
from onnx_compress.compiler.ir.lazy import LazyTensor

Store: TypeAlias = Callable[[Constant], onnx.TensorProto]


def export_graph(graph: Graph, store: Store) -> onnx.GraphProto:
    """The GraphProto of `graph`: nodes, initializers and declarations in the order of the file, new ones behind."""
    proto = onnx.GraphProto()
    proto.CopyFrom(graph.header)
    for node in graph.nodes:
        _export_node(node, proto.node.add(), store)
    for constant in graph.initializers:
        if isinstance(constant.stored, LazyTensor) and constant.stored.is_sparse:
            proto.sparse_initializer.append(_renamed_sparse(constant))
        else:
            proto.initializer.append(store(constant))
    proto.input.extend(export_info(tensor) for tensor in graph.inputs)
    proto.output.extend(export_info(tensor) for tensor in graph.outputs)
    _export_value_infos(graph, proto)
    return proto


def _renamed_sparse(constant: Constant) -> onnx.SparseTensorProto:
    proto = onnx.SparseTensorProto()
    proto.CopyFrom(constant.stored.tensor)
    proto.values.name = constant.name
    return proto


def embedded(constant: Constant) -> onnx.TensorProto:
    """The tensor with its data in it: the file's own where nothing changed it."""
    stored = constant.stored
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


def _keep_notes(stored: np.ndarray | LazyTensor, proto: onnx.TensorProto) -> None:
    """What a tensor says beside its data (documentation, metadata) goes with it into another form."""
    if isinstance(stored, LazyTensor) and not stored.is_sparse:
        if stored.tensor.HasField("doc_string"):
            proto.doc_string = stored.tensor.doc_string
        proto.metadata_props.extend(stored.tensor.metadata_props)


def placeholder(constant: Constant, limit: int) -> onnx.TensorProto:
    """The tensor without its data where that is over `limit` bytes: for tools that need only types and shapes."""
    if constant.nbytes <= limit:
        return embedded(constant)
    proto = onnx.TensorProto(name=constant.name, dims=constant.stored.shape)
    proto.data_type = element_type(constant.stored.dtype)
    proto.data_location = onnx.TensorProto.EXTERNAL
    proto.external_data.add(key="location", value="absent")
    return proto


def external_entry(constant: Constant, location: str, offset: int) -> onnx.TensorProto:
    """The tensor whose data lies in the file `location` at `offset`."""
    proto = onnx.TensorProto(name=constant.name, dims=constant.stored.shape)
    proto.data_type = element_type(constant.stored.dtype)
    proto.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(constant.nbytes))):
        proto.external_data.add(key=key, value=value)
    _keep_notes(constant.stored, proto)
    return proto


def element_type(dtype: Any) -> int:
    """ONNX's number for an element type, given as that or as a NumPy type."""
    return dtype if isinstance(dtype, int) else int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def export_info(tensor: Tensor) -> onnx.ValueInfoProto:
    """The declaration of a value: the file's own where type and shape are unchanged, else brought up to date."""
    dtype, shape = tensor.dtype, tensor.shape
    if tensor.info is not None:
        known = declared_type(tensor.info)
        if (_same_type(dtype, known[0]) and _same_shape(shape, known[1])) or _is_not_tensor(tensor.info):
            return _named(tensor.info, tensor.name)
    if dtype is None:
        return onnx.ValueInfoProto(name=tensor.name)
    info = onnx.helper.make_tensor_value_info(tensor.name, element_type(dtype), shape)
    if tensor.info is not None:
        info.doc_string = tensor.info.doc_string
        info.metadata_props.extend(tensor.info.metadata_props)
    return info


def _named(info: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    if info.name == name:
        return info
    renamed = onnx.ValueInfoProto()
    renamed.CopyFrom(info)
    renamed.name = name
    return renamed


def _is_not_tensor(info: onnx.ValueInfoProto) -> bool:
    return info.type.WhichOneof("value") not in (None, "tensor_type", "sparse_tensor_type")


def _same_type(dtype: Any, known: int | None) -> bool:
    return dtype is None if known is None else dtype is not None and element_type(dtype) == known


def _same_shape(shape: Any, known: tuple[Any, ...] | None) -> bool:
    return shape is None if known is None else shape is not None and tuple(shape) == known


def _export_value_infos(graph: Graph, proto: onnx.GraphProto) -> None:
    """Declarations of inner values that the file had, and of those that a pass declared."""
    listed = {tensor.name for tensor in (*graph.inputs, *graph.outputs)}
    values: dict[str, Tensor] = {c.name: c for c in graph.initializers}
    made = [out for node in graph.nodes for out in node.outputs if out.name]
    values.update((out.name, out) for out in made)
    for name in graph.value_order:
        if name in graph.loose_values:
            proto.value_info.append(graph.loose_values[name])
        elif name in values and _is_worth_declaring(values[name]):
            proto.value_info.append(export_info(values[name]))
    known = {*listed, *graph.value_order}
    proto.value_info.extend(
        export_info(out) for out in made if out.name not in known and out.dtype is not None and out.shape is not None
    )


def _is_worth_declaring(tensor: Tensor) -> bool:
    if isinstance(tensor, Variable) and tensor.info is not None and tensor.info.type.ByteSize():
        # A pass that could not tell the new shape took it away: then the declaration goes too.
        return tensor.dtype is not None or _is_not_tensor(tensor.info)
    return True


def _export_node(node: Node, proto: onnx.NodeProto, store: Store) -> None:
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
        proto.attribute.append(_export_attribute(node, name, value, store))


def _export_attribute(node: Node, name: str, value: Any, store: Store) -> onnx.AttributeProto:
    if isinstance(value, Graph):
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.GRAPH, g=export_graph(value, store))
    known = node.known.get(name)
    if known is not None and known[0] is value and not _has_external_data(value):
        return known[1]
    if isinstance(value, onnx.AttributeProto):
        return value
    if isinstance(value, Constant):
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.TENSOR, t=store(value))
    return onnx.helper.make_attribute(name, value, attr_type=_kind_of_empty(known, value))


def _has_external_data(value: Any) -> bool:
    return isinstance(value, Constant) and isinstance(value.stored, LazyTensor) and value.stored.external is not None


def _kind_of_empty(known: tuple[Any, onnx.AttributeProto] | None, value: Any) -> int | None:
    """An empty list has no type of its own: it keeps the attribute's, or is a list of whole numbers."""
    if value not in ((), []):
        return None
    return known[1].type if known is not None else onnx.AttributeProto.INTS
