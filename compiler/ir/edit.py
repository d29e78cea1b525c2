"""The only place that changes a model.

Every function keeps the graph consistent: producers and consumers agree, nodes stay in topological order,
graph inputs and outputs keep their names, and `model.version` counts the edits. New names derive from old
ones, so the same input gives the same file.
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
    """Record that the model changed, so that cached analyses are dropped."""
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
    """Add an initializer named `base.suffix` to `graph` (default: the main one); `structure` as in `replace_values`."""
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
    """Add a node named `base.suffix` directly before or after another node, in that node's graph.

    Without `outputs` it gets one new value of the same name, with undeclared type and shape. An array in `attrs`
    becomes a tensor, a list a tuple.
    """
    anchor = before or after
    if anchor is None or anchor.graph is None:
        raise ValueError("add_node needs `before` or `after`")
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
    return node.graph.nodes.index(node)  # a node equals only itself


def set_weight(
    model: Model,
    node: Node,
    slot: int,
    values: np.ndarray,
    *,
    tied: bool = False,
    structure: Structure | None = None,
) -> Constant:
    """Make `node` read `values` at input `slot` instead of its present constant.

    A constant that other nodes also read is copied for this node, unless `tied`: then all readers see the new values.
    A constant behind Identity or a Constant node becomes an initializer. Type and shape may change; if the file also
    lists the weight as an input, as old files do, that declaration is updated. For `structure` see `replace_values`.
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
    """Replace a constant's values for all its readers; its declaration in the file is updated.

    `structure` is what the caller promises about the new values (default: the structure of the old ones); a promise
    that the values break is dropped.
    """
    known = constant.structure if structure is None else structure
    constant.values_set(_plain(values))
    constant.structure = known
    touch(model)


def _plain(values: np.ndarray) -> np.ndarray:
    """The array as written to files: contiguous (scalars keep rank 0), in native byte order."""
    array = np.asarray(values)
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return native.reshape(array.shape)


def freeze(model: Model, variable: Variable, values: Stored) -> Constant:
    """Turn `variable`, which must not be a graph output, into a constant of its graph with the same name.

    The node that computed it loses that output; `sweep` removes the node if its other outputs are unused.
    """
    producer = variable.inputs[0]
    assert producer.graph is not None
    constant = Constant(variable.name, values)
    constant.info, constant.origin = variable.info, variable.origin
    producer.graph.initializers.append(constant)
    replace_uses(model, variable, constant)
    # The output keeps a name although it is unused: onnxruntime crashes if Split, among others, omits an output.
    unused = Variable(fresh_name(model, variable.name, "unused"))
    producer.outputs[_slot(producer, variable)] = unused
    return constant


def retype(model: Model, node: Node, op: str, inputs: Sequence[Tensor], attrs: Mapping[str, Any] | None = None) -> None:
    """Turn `node` into the standard operator `op`; it keeps its name, place and outputs."""
    _release_bodies(model, node)
    node.op, node.domain, node.attrs = op, None, {key: _attribute(value) for key, value in (attrs or {}).items()}
    node.known.clear()
    node.inputs.clear()
    node.inputs.extend(inputs)
    touch(model)


def absorb(model: Model, node: Node, reader: Node) -> None:
    """Make `node` compute the output of `reader`, the only reader of its own output; `reader` is removed.

    The output keeps `reader`'s name, because it now has that value; `node`'s former output is removed.
    """
    result = reader.outputs[0]
    reader.outputs.clear()
    node.outputs[0] = result
    erase(model, reader)


def set_input(model: Model, node: Node, slot: int, tensor: Tensor) -> None:
    """Make `node` read `tensor` at input `slot`; missing slots before it become omitted inputs."""
    while len(node.inputs) <= slot:
        node.inputs.append(Variable(""))
    node.inputs[slot] = tensor
    touch(model)


def set_attr(model: Model, node: Node, name: str, value: Any) -> None:
    """Set an attribute; a list becomes a tuple, an array a tensor; None removes the attribute."""
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
    """Declare the shape of a value; None if it is no longer known (the type stays declared)."""
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
    """Make the producer of `variable` compute a new value `variable.suffix` instead, and return the new value.

    The readers still read `variable`, which then has no producer: the caller must add one.
    """
    producer = variable.inputs[0]
    slot = next(i for i, out in enumerate(producer.outputs) if out is variable)
    raw = Variable(fresh_name(model, variable.name, suffix), variable.dtype, variable.shape)
    producer.outputs[slot] = raw
    touch(model)
    return raw


def uses(model: Model, tensor: Tensor) -> list[tuple[Node, int]]:
    """(node, input slot) of every reader of `tensor`, including those in bodies; graph outputs are not listed."""
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
    """Whether `tensor` has a reader or is a graph output."""
    return bool(tensor.outputs) or is_output(model, tensor)


def replace_uses(model: Model, old: Tensor, new: Tensor) -> None:
    """Make every reader of `old` read `new` instead. Graph outputs are not changed: see `bypass`."""
    for node, slot in uses(model, old):
        node.inputs[slot] = new
    touch(model)


def bypass(model: Model, node: Node, source: Tensor | None = None, *, keep_name: bool = False) -> bool:
    """Remove `node`; its readers read `source` (default: its first input) instead. Returns whether it was removed.

    If the result is a graph output, or with `keep_name`, its name must survive: the producer of `source` takes over
    name and origin, and the readers of `source` read the renamed value. If that is impossible (`source` is an input, a
    constant, itself an output, or comes from outside the body), or if another output of `node` is used, the node stays.
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
    """Make the producer of `source` compute `result`, and all readers of `source` read `result`."""
    producer = source.inputs[0]
    slot = _slot(producer, source)
    replace_uses(model, source, result)
    result.inputs.clear()
    producer.outputs[slot] = result
    touch(model)


def _slot(producer: Node, output: Tensor) -> int:
    return next(i for i, out in enumerate(producer.outputs) if out is output)


def erase(model: Model, node: Node) -> None:
    """Remove a node with unused outputs. Raises ValueError if an output is used."""
    for out in node.outputs:
        if out.inputs == [node] and is_used(model, out):
            raise ValueError(f"{node.label()} can't be erased: '{out.name}' is still used")
    assert node.graph is not None
    del node.graph.nodes[position(node)]
    _detach(model, node)
    touch(model)


def sweep(model: Model) -> int:
    """Remove nodes with unused outputs, and unread initializers; returns the number of both together.

    An initializer that is the default of a graph input stays, because callers may set that input. Before IR version
    4 all initializers are listed as inputs and callers can't set them, so there they are removed.
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
    """Remove a dead node, and the nodes in its bodies, from the readers of their inputs."""
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
