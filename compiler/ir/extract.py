"""A part of a model as a model of its own: from some inner values to others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx

from onnx_compress.compiler.ir.clone import clone_graph
from onnx_compress.compiler.ir.graph import Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model

ElementType = int
Declared = tuple[ElementType, int]


def extract(model: Model, inputs: Mapping[Variable, Declared], outputs: Iterable[Variable]) -> Model:
    """The nodes of the main graph that lead from `inputs` to `outputs`, as an independent model.

    Each input is declared by element type (ONNX's number) and rank, its sizes left free. What an output needs
    beside the inputs must be constant. Raises ValueError where it needs another input of the model.
    """
    outputs = list(outputs)
    needed = ancestors(model.graph, outputs, stop=inputs)
    part = Graph(model.graph.name)
    part.nodes = [node for node in model.graph.nodes if node in needed]
    part.inputs = list(inputs)
    part.outputs = list(outputs)
    read = {tensor for node in part.nodes for tensor in reads(node)}
    missing = next((t for t in model.graph.inputs if t in read and t not in inputs and isinstance(t, Variable)), None)
    if missing is not None:
        raise ValueError(f"'{missing.name}' is needed too")
    part.initializers = [constant for constant in model.graph.initializers if constant in read]
    copied = clone_graph(part)
    for tensor, (element, rank) in zip(copied.inputs, inputs.values()):
        # Declared sizes inside a graph may be those of another run, so none is promised here.
        tensor.info, tensor.dtype, tensor.shape = None, element, (None,) * rank
        for node in list(tensor.inputs):
            # It has other outputs, which are needed. This one gets another name: without one Split crashes onnxruntime.
            node.outputs = [Variable(f"{out.name}.unused") if out is tensor else out for out in node.outputs]
    for tensor in copied.outputs:
        tensor.info, tensor.dtype, tensor.shape = None, None, None
    header = onnx.ModelProto()
    header.CopyFrom(model.header)
    return Model(copied, header)


def ancestors(graph: Graph, outputs: Iterable[Tensor], stop: Iterable[Tensor] = ()) -> set[Node]:
    """The nodes of `graph` that `outputs` need, those left out that only values in `stop` need."""
    producers = {out: node for node in graph.nodes for out in node.outputs}
    seen: set[Tensor] = set(stop)
    found: set[Node] = set()
    waiting = [tensor for tensor in outputs if tensor not in seen]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node in found:
            continue
        found.add(node)
        for tensor in reads(node):
            if tensor not in seen:
                seen.add(tensor)
                waiting.append(tensor)
    return found


def reads(node: Node) -> Iterator[Tensor]:
    """Everything a node reads: its inputs, and what is read in its bodies (their own values among it)."""
    yield from node.inputs
    for body in node.bodies():
        yield from body.outputs
        for inner in body.nodes:
            yield from reads(inner)
