"""Copy a graph without copying its weights."""

from __future__ import annotations

from typing import Any

import onnx

from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable

Twins = dict[Tensor, Tensor]


def clone_graph(graph: Graph, twins: Twins | None = None, parent: Node | None = None) -> Graph:
    """A copy of `graph` and its bodies. Arrays and protobuf messages are shared, because neither changes in place."""
    twins = {} if twins is None else twins
    copied = Graph(graph.name)
    copied.parent = parent
    copied.header = onnx.GraphProto()
    copied.header.CopyFrom(graph.header)
    copied.declared, copied.loose = graph.declared, graph.loose
    copied.output_infos = dict(graph.output_infos)
    copied.initializers = [_constant_twin(constant, twins) for constant in graph.initializers]
    copied.inputs = [_twin(tensor, twins) for tensor in graph.inputs]
    for node in graph.nodes:
        copied.nodes.append(_node(node, copied, twins))
    copied.outputs = [_twin(tensor, twins) for tensor in graph.outputs]
    return copied


def _node(node: Node, graph: Graph, twins: Twins) -> Node:
    inputs = [_twin(tensor, twins) for tensor in node.inputs]
    outputs = [_twin(tensor, twins) for tensor in node.outputs]
    copied = Node(node.op, node.name, None, inputs, outputs, node.domain)
    copied.graph = graph
    copied.alias, copied.header = node.alias, node.header
    copied.known = dict(node.known)
    copied.attrs = {name: _attribute(value, twins, copied) for name, value in node.attrs.items()}
    return copied


def _attribute(value: Any, twins: Twins, parent: Node) -> Any:
    if isinstance(value, Graph):
        return clone_graph(value, twins, parent)
    if isinstance(value, tuple) and value and isinstance(value[0], Graph):
        return tuple(clone_graph(body, twins, parent) for body in value)
    return _twin(value, twins) if isinstance(value, Constant) else value


def _twin(tensor: Tensor, twins: Twins) -> Tensor:
    if tensor not in twins:
        twins[tensor] = _variable(tensor) if isinstance(tensor, Variable) else _constant(tensor)
    return twins[tensor]


def _constant_twin(constant: Constant, twins: Twins) -> Constant:
    twin = _twin(constant, twins)
    assert isinstance(twin, Constant)
    return twin


def _variable(variable: Variable) -> Variable:
    copied = Variable(variable.name, variable.dtype, variable.shape)
    copied.info, copied.imported, copied.origin = variable.info, variable.imported, variable.origin
    return copied


def _constant(constant: Constant) -> Constant:
    copied = Constant(constant.name, constant.stored)
    copied.info, copied.imported, copied.origin = constant.info, constant.imported, constant.origin
    copied.share_structure(constant)
    return copied
