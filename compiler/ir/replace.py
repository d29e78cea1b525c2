"""Replace a model's content by another model's: an edited clone, or the output of a tool that drops information."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model


def replace_content(model: Model, other: Model) -> None:
    """Replace the content of `model` by that of `other`, the output of a tool.

    Kept from `model` are its header (only the opsets are taken from `other`), the documentation and metadata of
    the graph, and of nodes and constants of the same name, the declarations of inputs and outputs, and the origins
    of tensors. Declarations of inner values that the tool added are dropped. `other` must have inputs and outputs
    of the same names, and must not be used afterwards.
    """
    for old, new in zip((*model.graph.inputs, *model.graph.outputs), (*other.graph.inputs, *other.graph.outputs)):
        if old.name != new.name:
            raise ValueError(f"inputs and outputs must keep their names: '{old.name}' became '{new.name}'")
    known = {tensor.name: tensor for graph in model.graph.graphs() for tensor in _tensors(graph)}
    makers = {out.name: node for node in model.nodes() for out in node.outputs if out.name}
    for graph in other.graph.graphs():
        for node in graph.nodes:
            _restore_node(node, next((makers[out.name] for out in node.outputs if out.name in makers), None))
        for tensor in _tensors(graph):
            _restore(tensor, known.get(tensor.name))
    other.graph.name = model.graph.name
    other.graph.header, other.graph.output_infos = model.graph.header, model.graph.output_infos
    other.graph.declared, other.graph.loose = model.graph.declared, model.graph.loose
    model.graph = other.graph
    del model.header.opset_import[:]
    model.header.opset_import.extend(other.header.opset_import)
    model.taken = None
    edit.touch(model)


def adopt(model: Model, other: Model) -> None:
    """Make `model` equal to `other`, an edited clone of it; `other` must not be used afterwards."""
    model.graph, model.header = other.graph, other.header
    model.taken = other.taken
    edit.touch(model)


def _tensors(graph: Graph) -> list[Tensor]:
    made = [out for node in graph.nodes for out in node.outputs]
    return [*graph.inputs, *graph.initializers, *made]


def _restore_node(node: Node, old: Node | None) -> None:
    if old is not None:
        node.header = old.header or node.header
        node.alias = old.alias or node.alias


def _restore(tensor: Tensor, old: Tensor | None) -> None:
    if isinstance(tensor, Variable):
        tensor.info, tensor.imported, tensor.dtype, tensor.shape = None, None, None, None
        if isinstance(old, Variable):
            tensor.info, tensor.imported = old.info, old.imported
            tensor.dtype, tensor.shape = old.dtype, old.shape
    elif isinstance(old, Constant):
        tensor.info, tensor.imported = old.info, old.imported
        if np.array_equal(tensor.values, old.values):
            tensor.store_as(old.stored)
            tensor.share_structure(old)
    if old is not None:
        tensor.origin = old.origin
