"""Extract a part of a model as a separate model: from some inner values to others, or a part of constants only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx

from onnx_compress.compiler.ir.clone import clone_graph
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of

ElementType = int
Declared = tuple[ElementType, int]


def extract(model: Model, inputs: Mapping[Variable, Declared], outputs: Iterable[Variable]) -> Model:
    """The nodes of the main graph that lead from `inputs` to `outputs`, as an independent model.

    Each input is declared by element type (ONNX's number) and rank, with free sizes. Apart from `inputs`, an output
    may depend only on constants. Raises ValueError if it depends on another input of the model.
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
        raise ValueError(f"the outputs also need '{missing.name}'")
    part.initializers = [constant for constant in model.graph.initializers if constant in read]
    copied = clone_graph(part)
    for tensor, (element, rank) in zip(copied.inputs, inputs.values()):
        # Declared sizes of inner values may come from a run with other inputs, so they are not declared here.
        tensor.info, tensor.dtype, tensor.shape = None, element, (None,) * rank
        for node in list(tensor.inputs):
            # Its other outputs are needed. This one is renamed, not omitted: onnxruntime crashes on a Split without it.
            node.outputs = [Variable(f"{out.name}.unused") if out is tensor else out for out in node.outputs]
    for tensor in copied.outputs:
        tensor.info, tensor.dtype, tensor.shape = None, None, None
    header = onnx.ModelProto()
    header.CopyFrom(model.header)
    return Model(copied, header)


def constant_part(model: Model, nodes: Iterable[Node], outputs: Iterable[Variable]) -> Model:
    """`nodes`, which depend only on constants and each other and have no bodies, as a model without inputs.

    Its outputs are copies of `outputs`, in order. All values get new names, because bodies may use one name for
    different values.
    """
    part = Graph("constants")
    twins: dict[Tensor, Tensor] = {}
    for node in nodes:
        inputs = [_renamed(tensor, twins, part) for tensor in node.inputs]
        made = [_renamed(tensor, twins, part) for tensor in node.outputs]
        _add_twin(part, node, inputs, made)
    part.outputs = [twins[out] for out in outputs]
    return Model(part, model.header)


def node_part(model: Model, node: Node, values: Sequence[np.ndarray | None]) -> Model:
    """`node` as a model with one output and without inputs: it reads `values`, None for an omitted input."""
    part = Graph("node")
    inputs = [Variable("") if array is None else Constant(f"x{i}", array) for i, array in enumerate(values)]
    part.initializers = [tensor for tensor in inputs if isinstance(tensor, Constant)]
    part.outputs = [Variable("y")]
    _add_twin(part, node, inputs, part.outputs)
    return Model(part, model.header)


def _add_twin(part: Graph, node: Node, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    twin = Node(node.op, "", node.attrs, inputs, outputs, node.domain)
    twin.graph = part
    part.nodes.append(twin)


def _renamed(tensor: Tensor, twins: dict[Tensor, Tensor], part: Graph) -> Tensor:
    if tensor in twins or not tensor.name:
        return twins.get(tensor) or Variable("")
    source = constant_of(tensor)
    name = f"v{len(twins)}"
    if source is None:
        twins[tensor] = Variable(name)
    else:
        part.initializers.append(Constant(name, source.stored))
        twins[tensor] = part.initializers[-1]
    return twins[tensor]


def ancestors(graph: Graph, outputs: Iterable[Tensor], stop: Iterable[Tensor] = ()) -> set[Node]:
    """The nodes of `graph` on which `outputs` depend, without those needed only for values in `stop`."""
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
    """Every tensor a node reads: its inputs, and everything read in its bodies, including the bodies' own values."""
    yield from node.inputs
    for body in node.bodies():
        yield from body.outputs
        for inner in body.nodes:
            yield from reads(inner)
