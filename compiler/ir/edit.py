"""The one door for changing a model.

Everything here keeps the graph whole: producers and consumers agree, nodes stay in an order in which each
reads only what exists, graph inputs and outputs keep their names, and `model.version` counts what happened.
New names derive from old ones, so that the same input gives the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnx_compress.compiler.ir.graph import Constant, Dim, Graph, Node, Origin, Stored, Tensor, Variable
from onnx_compress.compiler.ir.model import LEAST_IR_OF_DEFAULTS, Model
from onnx_compress.compiler.ir.names import fresh_name, taken_names
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.storage.structure import Structure


def touch(model: Model) -> None:
    """Note that the model changed, so that cached analyses are dropped."""
    model.version += 1


def add_constant(
    model: Model,
    base: str,
    suffix: str,
    values: np.ndarray,
    *,
    graph: Graph | None = None,
    origin: Origin | None = None,
    structure: Structure | None = None,
) -> Constant:
    """A new initializer named `base.suffix` in `graph` (default: the main one), with what is known of its values."""
    constant = Constant(fresh_name(model, base, suffix), _plain(values))
    constant.structure = structure
    if origin is not None:
        constant.origin = origin
    (graph or model.graph).initializers.append(constant)
    touch(model)
    return constant


def add_node(
    model: Model,
    op: str,
    inputs: Sequence[Tensor],
    *,
    base: str,
    suffix: str,
    before: Node | None = None,
    after: Node | None = None,
    attrs: Mapping[str, Any] | None = None,
    outputs: Sequence[Variable] | None = None,
    domain: str | None = None,
) -> Node:
    """A new node named `base.suffix`, directly before or after another one, in that one's graph.

    Without `outputs` it gets one new value of the same name; its type and shape are left undeclared. An array among
    `attrs` becomes a tensor, a list a tuple.
    """
    anchor = before or after
    if anchor is None or anchor.graph is None:
        raise ValueError("add_node needs a node of the graph to stand before or after")
    name = fresh_name(model, base, suffix)
    made = list(outputs) if outputs is not None else [Variable(name)]
    taken_names(model).update(out.name for out in made)
    node = Node(op, name, None, inputs, made, domain)
    node.attrs.update({key: _attribute(value) for key, value in (attrs or {}).items()})
    node.graph = anchor.graph
    _forget_graphs(model, node)
    place = position(anchor) + (0 if before is not None else 1)
    anchor.graph.nodes.insert(place, node)
    touch(model)
    return node


def position(node: Node) -> int:
    """Index of `node` in its graph."""
    assert node.graph is not None
    return node.graph.nodes.index(node)  # a node equals itself alone


def set_weight(
    model: Model,
    node: Node,
    slot: int,
    values: np.ndarray,
    *,
    tied: bool = False,
    structure: Structure | None = None,
) -> Constant:
    """Let `node` read `values` at input `slot`, whatever it read before.

    A constant that other nodes read too is copied for this one, unless `tied`: then all see the new values.
    One that hides behind Identity or a Constant node becomes an initializer. Type and shape may change; where
    the file lists its weights among the inputs, as old ones do, the declaration there follows. For `structure` see
    `replace_values`.
    """
    old = input_constant(node, slot)
    if old is None:
        raise ValueError(f"{node.label()} has no constant at input {slot}")
    direct = node.inputs[slot]
    assert node.graph is not None
    alone = len(uses(model, direct)) == 1 and not is_output(model, direct)
    if isinstance(direct, Constant) and (alone or tied):
        replace_values(model, direct, values, structure)
        return direct
    home = direct.inputs[0].graph if tied and direct.inputs else node.graph
    known = old.structure if structure is None else structure
    name = node.name or node.op
    new = add_constant(model, direct.name, name, values, graph=home, origin=old.origin, structure=known)
    if tied:
        replace_uses(model, direct, new)
    else:
        node.inputs[slot] = new
    touch(model)
    return new


def replace_values(model: Model, constant: Constant, values: np.ndarray, structure: Structure | None = None) -> None:
    """Give a constant other values, for all its readers; its declaration in the file follows.

    `structure` is what the caller promises of the new values (default: what was known of the old ones); a promise that
    they break is dropped.
    """
    known = constant.structure if structure is None else structure
    constant.values_set(_plain(values))
    constant.structure = known
    touch(model)


def _plain(values: np.ndarray) -> np.ndarray:
    """The array as it is written to files: contiguous (scalars keep rank 0), in the byte order of the machine."""
    array = np.asarray(values)
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return native.reshape(array.shape)


def freeze(model: Model, variable: Variable, values: Stored) -> Constant:
    """Let `variable`, which is no output of a graph, be a constant of its graph from now on, under its own name.

    The node that computed it is left without that output; `sweep` removes it when nothing else is needed of it.
    """
    producer = variable.inputs[0]
    assert producer.graph is not None
    constant = Constant(variable.name, values)
    constant.info, constant.origin = variable.info, variable.origin
    producer.graph.initializers.append(constant)
    replace_uses(model, variable, constant)
    # A name for what nobody reads: onnxruntime crashes when Split, among others, leaves an output out.
    unused = Variable(fresh_name(model, variable.name, "unused"))
    producer.outputs[_slot(producer, variable)] = unused
    return constant


def retype(model: Model, node: Node, op: str, inputs: Sequence[Tensor], attrs: Mapping[str, Any] | None = None) -> None:
    """Let ONNX's operator `op` compute the outputs of `node`, which keeps its name and place."""
    _release_bodies(model, node)
    node.op, node.domain, node.attrs = op, None, {key: _attribute(value) for key, value in (attrs or {}).items()}
    node.known.clear()
    node.inputs.clear()
    node.inputs.extend(inputs)
    touch(model)


def absorb(model: Model, node: Node, reader: Node) -> None:
    """Let `node` compute what `reader`, the only one that reads its output, computes; `reader` is removed.

    The output keeps the name it had as `reader`'s, because it has that value now; `node`'s own ceases to exist.
    """
    result = reader.outputs[0]
    reader.outputs.clear()
    node.outputs[0] = result
    erase(model, reader)


def set_input(model: Model, node: Node, slot: int, tensor: Tensor) -> None:
    """Let `node` read `tensor` at input `slot`; slots between are filled with omitted inputs."""
    while len(node.inputs) <= slot:
        node.inputs.append(Variable(""))
    node.inputs[slot] = tensor
    touch(model)


def set_attr(model: Model, node: Node, name: str, value: Any) -> None:
    """Set an attribute; lists become tuples, arrays tensors, None removes it."""
    _forget_graphs(model, node)
    if value is None:
        node.attrs.pop(name, None)
    else:
        node.attrs[name] = _attribute(value)
    _forget_graphs(model, node)
    touch(model)


def _attribute(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return Constant("", _plain(value))
    return tuple(value) if isinstance(value, list) else value


def set_shape(model: Model, variable: Variable, shape: Sequence[Dim] | None) -> None:
    """Declare the shape of a value; None where it is no longer known (its type stays declared)."""
    if variable.shape != shape:
        variable.shape = None if shape is None else tuple(shape)
        touch(model)


def set_type(model: Model, variable: Variable, dtype: int) -> None:
    """Declare the element type (ONNX's number) of a value, unless its type is left undeclared."""
    if variable.dtype not in (None, dtype):
        variable.dtype = dtype
        touch(model)


def set_origin(model: Model, tensor: Tensor, origin: Origin) -> None:
    """Say where a tensor comes from in the model as loaded."""
    tensor.origin = origin
    touch(model)


def stand_in(constant: Constant) -> Variable:
    """A new value of the same name and origin, for the node that is to compute what `constant` holds."""
    result = Variable(constant.name)
    result.origin = constant.origin
    return result


def divert(model: Model, variable: Variable, suffix: str) -> Variable:
    """Let the producer of `variable` compute a new value `variable.suffix` instead, and return that one.

    The readers stay with `variable`, which nothing computes any more: the caller gives it a new producer.
    """
    producer = variable.inputs[0]
    slot = next(i for i, out in enumerate(producer.outputs) if out is variable)
    raw = Variable(fresh_name(model, variable.name, suffix), variable.dtype, variable.shape)
    producer.outputs[slot] = raw
    touch(model)
    return raw


def uses(model: Model, tensor: Tensor) -> list[tuple[Node, int]]:
    """(node, input slot) of every reader of `tensor`, those in bodies included; graph outputs are not listed."""
    found = []
    seen: set[int] = set()
    for node in tensor.outputs:
        if id(node) not in seen:
            seen.add(id(node))
            found += [(node, slot) for slot, read in enumerate(node.inputs) if read is tensor]
    return found


def is_output(model: Model, tensor: Tensor) -> bool:
    """Whether `tensor` is an output of the model or of one of its bodies."""
    return any(out is tensor for graph in model.graphs() for out in graph.outputs)


def is_used(model: Model, tensor: Tensor) -> bool:
    """Whether anything reads `tensor` or it is an output."""
    return bool(tensor.outputs) or is_output(model, tensor)


def replace_uses(model: Model, old: Tensor, new: Tensor) -> None:
    """Let every reader of `old` read `new` instead. Outputs of graphs keep what they name: see `bypass`."""
    for node, slot in uses(model, old):
        node.inputs[slot] = new
    touch(model)


def bypass(model: Model, node: Node, source: Tensor | None = None, *, keep_name: bool = False) -> bool:
    """Remove `node`, its readers reading `source` (default: its first input) instead.

    An output of a graph keeps its name, and with `keep_name` any value: then the producer of `source` takes over the
    name and origin, for the readers of `source` too, or, where that can't be (`source` is an input, a constant, an
    output too, or comes from outside the body), the node stays and False is returned; so too when another of its
    outputs is in use.
    """
    source = node.inputs[0] if source is None else source
    result = node.outputs[0]
    if any(is_used(model, other) for other in node.outputs[1:]):
        return False
    if keep_name or is_output(model, result):
        if not _can_rename(model, node, source):
            return False
        _take_over(model, source, result)
    else:
        replace_uses(model, result, source)
    erase(model, node)
    return True


def _can_rename(model: Model, node: Node, source: Tensor) -> bool:
    is_computed_here = isinstance(source, Variable) and source.inputs and source.inputs[0].graph is node.graph
    return bool(is_computed_here) and not is_output(model, source)


def _take_over(model: Model, source: Tensor, result: Tensor) -> None:
    """Let the producer of `source` compute `result`, which all readers of both read then."""
    producer = source.inputs[0]
    slot = _slot(producer, source)
    replace_uses(model, source, result)
    result.inputs.clear()
    producer.outputs[slot] = result
    touch(model)


def _slot(producer: Node, output: Tensor) -> int:
    return next(i for i, out in enumerate(producer.outputs) if out is output)


def erase(model: Model, node: Node) -> None:
    """Remove a node whose outputs nothing uses. Raises ValueError while something does."""
    for out in node.outputs:
        if out.inputs == [node] and is_used(model, out):
            raise ValueError(f"{node.label()} can't be erased: '{out.name}' is still used")
    assert node.graph is not None
    del node.graph.nodes[position(node)]
    _detach(model, node)
    touch(model)


def sweep(model: Model) -> int:
    """Remove nodes whose outputs nothing uses, and initializers that nothing reads; returns how many of both.

    An initializer that is the default of an input stays, because a caller may give that input; before IR version
    4 callers can't, and all initializers are listed as inputs.
    """
    removed = 0
    while found := sum(_sweep_graph(model, graph) for graph in reversed(model.graphs())):
        removed += found
    if removed:
        touch(model)
    return removed


def _sweep_graph(model: Model, graph: Graph) -> int:
    results = {id(out) for body in model.graphs() for out in body.outputs}
    before = len(graph.nodes) + len(graph.initializers)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(out.outputs or id(out) in results for out in node.outputs) or not node.outputs:
            kept.append(node)
        else:
            _detach(model, node)
    graph.nodes = kept[::-1]
    if model.header.ir_version < LEAST_IR_OF_DEFAULTS:
        graph.inputs = [t for t in graph.inputs if not isinstance(t, Constant) or t.outputs or id(t) in results]
    defaults = {id(tensor) for tensor in graph.inputs}
    graph.initializers = [c for c in graph.initializers if c.outputs or id(c) in results or id(c) in defaults]
    return before - len(graph.nodes) - len(graph.initializers)


def _detach(model: Model, node: Node) -> None:
    """Take a dead node out of its inputs' readers, and so with everything in its bodies."""
    _release_bodies(model, node)
    node.inputs.clear()
    node.outputs.clear()
    node.graph = None


def _release_bodies(model: Model, node: Node) -> None:
    _forget_graphs(model, node)
    for body in node.bodies():
        for inner in body.nodes:
            _detach(model, inner)


def _forget_graphs(model: Model, node: Node) -> None:
    if any(True for _ in node.bodies()):
        model.forget_graphs()
