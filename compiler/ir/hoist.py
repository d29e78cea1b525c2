"""Taking the nodes of a body out into the graph around it."""

from __future__ import annotations

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Graph, Node, Tensor
from onnx_compress.compiler.ir.model import Model


def hoist(model: Model, node: Node, body: Graph) -> None:
    """Put the nodes of `body`, a branch of the If `node`, in the place of `node`, which is removed.

    Its outputs keep their names: an Identity gives each the branch's value. A value of the branch keeps its name
    unless another graph has one of that name, because around that graph it would be taken for it.
    """
    outer = node.graph
    assert outer is not None
    for other in [name for name, value in node.attrs.items() if isinstance(value, Graph) and value is not body]:
        edit.set_attr(model, node, other, None)
    _make_names_unique(model, node, body)
    place = edit.position(node)
    outer.nodes[place:place] = body.nodes
    for moved in body.nodes:
        moved.graph = outer
    body.nodes = []
    outer.initializers += body.initializers
    for result, value in zip(list(node.outputs), body.outputs, strict=True):
        node.outputs.remove(result)
        edit.add_node(
            model, "Identity", [value], base=node.name or result.name, suffix="branch", before=node, outputs=[result]
        )
    edit.erase(model, node)
    model.forget_graphs()


def _make_names_unique(model: Model, node: Node, body: Graph) -> None:
    elsewhere = {tensor.name for graph in model.graphs() if graph is not body for tensor in _defined(graph)}
    for tensor in _defined(body):
        if tensor.name in elsewhere:
            tensor.name = edit.fresh_name(model, tensor.name, node.name or "branch")


def _defined(graph: Graph) -> list[Tensor]:
    made = [out for node in graph.nodes for out in node.outputs if out.name]
    return [*graph.inputs, *graph.initializers, *made]
