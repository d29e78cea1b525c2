"""Move nodes and constants from a body to the graph around it."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.names import fresh_name


def hoist(model: Model, node: Node, body: Graph) -> None:
    """Replace the If `node` by the nodes of `body`, one of its branches.

    The outputs of `node` keep their names: an Identity copies the branch's value to each. A value of the branch keeps
    its name unless another graph uses that name, because the hoisted value could be visible there.
    """
    outer = node.graph
    assert outer is not None
    for other in [name for name, value in node.attrs.items() if isinstance(value, Graph) and value is not body]:
        _discard(node.attrs[other])
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


def _discard(body: Graph) -> None:
    """Remove the nodes of `body` from the readers of the values around it."""
    for node in body.walk():
        node.inputs.clear()
        node.graph = None


def common_graph(graphs: Sequence[Graph]) -> Graph:
    """The innermost graph whose values all of `graphs` can read."""
    around = [_around(graph) for graph in graphs]
    return next(graph for graph in around[0] if all(graph in others for others in around))


def _around(graph: Graph) -> list[Graph]:
    """The graph itself, the one it is a body in, and so on."""
    found = [graph]
    while found[-1].parent is not None and found[-1].parent.graph is not None:
        found.append(found[-1].parent.graph)
    return found


def lift(model: Model, constant: Constant, graph: Graph) -> None:
    """Move an initializer to `graph`, which encloses its own graph; it is renamed if its name is taken there."""
    home = next(body for body in model.graphs() if any(other is constant for other in body.initializers))
    if home is graph:
        return
    home.initializers.remove(constant)
    graph.initializers.append(constant)
    constant.name = fresh_name(model, constant.name, "shared")
    edit.touch(model)


def _make_names_unique(model: Model, node: Node, body: Graph) -> None:
    elsewhere = {tensor.name for graph in model.graphs() if graph is not body for tensor in _defined(graph)}
    for tensor in _defined(body):
        if tensor.name in elsewhere:
            tensor.name = fresh_name(model, tensor.name, node.name or "branch")


def _defined(graph: Graph) -> list[Tensor]:
    made = [out for node in graph.nodes for out in node.outputs if out.name]
    return [*graph.inputs, *graph.initializers, *made]
