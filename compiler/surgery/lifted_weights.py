"""Turn weights into initializers, however a framework exported them."""

from __future__ import annotations

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant, source_of


def lifted(model: Model, node: Node, slot: int) -> tuple[Constant, Graph]:
    """The weight that `node` reads at input `slot` as an initializer, and the graph that holds it.

    All its readers read it, including those behind Identity; a Constant node is turned into an initializer.
    """
    weight = input_constant(node, slot)
    if weight is None:
        raise ValueError(f"{node.label()} has no constant at input {slot}")
    tensor = source_of(node.inputs[slot])
    constant = _frozen(model, tensor, weight) if isinstance(tensor, Variable) else tensor
    holder = next(graph for graph in model.graph.graphs() if any(c is constant for c in graph.initializers))
    return constant, holder


def _frozen(model: Model, value: Variable, weight: Constant) -> Constant:
    """An initializer for the readers of a Constant node; an output of a graph is left unchanged."""
    if not edit.is_output(model, value):
        return edit.freeze(model, value, weight.stored)
    made = edit.add_constant(model, value.name, "weight", weight.values, graph=value.inputs[0].graph)
    edit.replace_uses(model, value, made)
    return made
