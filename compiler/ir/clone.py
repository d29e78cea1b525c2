"""Copying a graph without copying its weights."""

from __future__ import annotations

import copy
from typing import Any

import onnx

from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable

Twins = dict[Tensor, Tensor]


def clone_graph(graph: Graph, twins: Twins | None = None, parent: Node | None = None) -> Graph:
    """A copy of `graph` and its bodies. Arrays and protobuf parts are shared: both are never changed in place."""
    twins = {} if twins is None else twins
    copied = Graph(graph.name)
    copied.parent = parent
    copied.header = onnx.GraphProto()
    copied.header.CopyFrom(graph.header)
    copied.value_order = list(graph.value_order)
    copied.loose_values = dict(graph.loose_values)
    copied.initializers = [_constant(constant, twins) for constant in graph.initializers]
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
    copied.header = node.header
    copied.known = dict(node.known)
    copied.attrs = {name: _attribute(value, twins, copied) for name, value in node.attrs.items()}
    return copied


def _attribute(value: Any, twins: Twins, parent: Node) -> Any:
    return clone_graph(value, twins, parent) if isinstance(value, Graph) else value


def _twin(tensor: Tensor, twins: Twins) -> Tensor:
    if tensor not in twins:
        twins[tensor] = _variable(tensor) if isinstance(tensor, Variable) else _constant(tensor, twins)
    return twins[tensor]


def _variable(variable: Variable) -> Variable:
    copied = Variable(variable.name, variable.dtype, variable.shape)
    copied.info, copied.origin = variable.info, variable.origin
    return copied


def _constant(constant: Constant, twins: Twins) -> Constant:
    copied = Constant(constant.name, constant.stored)
    copied.info, copied.origin = constant.info, copy.copy(constant.origin)
    twins[constant] = copied
    return copied
