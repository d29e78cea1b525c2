"""Compute at compile time what depends on nothing but constants.

The largest subgraphs of constants are evaluated as a whole, and only what the rest of the model reads of them
becomes an initializer. One that would add more bytes than it removes stays as it is (`ConstantOfShape` makes
500 MB out of 40 bytes; `Cast` of an int8 weight quadruples it), except for a kilobyte, which shapes, masks and
scales need. Then its inputs are tried in its stead. Bodies of If, Loop and Scan are folded like the main graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from onnx_compress.compiler.errors import CompressError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.session import create
from onnx_compress.passes.simplify._facts import READABLE, Facts
from onnx_compress.passes.simplify._rule import UNTOUCHED

GROWTH = 1024
"""Bytes by which the file may grow for each initializer that folding makes."""

_HANDLED_ELSEWHERE = frozenset({"Constant", "Identity"})
_EXCHANGEABLE = frozenset(range(1, 14)) - {onnx.TensorProto.STRING}
"""Element types that onnxruntime exchanges with NumPy."""
_BOUNDED = frozenset({"NonZero", "Unique", "Compress", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice"})
"""Operators whose output can't be large when their inputs are small, even where its shape is not inferred."""


def fold_constants(model: Model, ctx: Context, facts: Facts) -> int:
    """Replace what only depends on constants by initializers of the same names."""
    folded = _worth_it(model, facts, list(_constant_nodes(model, facts)))
    wanted = [out for node in folded for out in _frontier(node, folded)]
    if not wanted:
        return 0
    try:
        values = _evaluate(model, folded, wanted)
    except CompressError as error:
        ctx.skip("constant folding", f"onnxruntime can't compute the constant part of the model: {error}")
        return 0
    for out, array in zip(wanted, values):
        edit.freeze(model, out, array)
    return len(values)


def _constant_nodes(model: Model, facts: Facts) -> Iterator[Node]:
    """Nodes all of whose inputs are constants or computed by such nodes, in order."""
    found: set[Node] = set()
    for node in model.nodes():
        if not _may_fold(node, facts):
            continue
        inputs = [tensor for tensor in node.inputs if tensor.name]
        if all(_is_constant(tensor, facts, found) for tensor in inputs) and _is_affordable(node, inputs, facts):
            found.add(node)
            yield node


def _may_fold(node: Node, facts: Facts) -> bool:
    if not node.is_standard or node.op in UNTOUCHED | _HANDLED_ELSEWHERE or any(True for _ in node.bodies()):
        return False
    return bool(node.outputs) and not any(out in facts.results for out in node.outputs)


def _is_constant(tensor: Tensor, facts: Facts, found: set[Node]) -> bool:
    if facts.constant(tensor) is not None:
        return True
    return bool(tensor.inputs) and tensor.inputs[0] in found


def _is_affordable(node: Node, inputs: list[Tensor], facts: Facts) -> bool:
    """Whether evaluating takes no more memory than is known beforehand, and reads no huge weight in vain."""
    made = [facts.nbytes(out) for out in node.outputs if out.name]
    if not all(facts.type(out) in _EXCHANGEABLE for out in node.outputs if out.name):
        return False
    constants = [facts.constant(tensor) for tensor in inputs]
    if None in made:
        return node.op in _BOUNDED and all(c is not None and c.nbytes <= READABLE for c in constants)
    total = sum(nbytes for nbytes in made if nbytes is not None)
    return all(c is None or c.nbytes <= facts.loadable or total < c.nbytes for c in constants)


def _frontier(node: Node, folded: dict[Node, None]) -> list[Variable]:
    """Outputs of a folded node that something else reads."""
    return [out for out in node.outputs if any(reader not in folded for reader in out.outputs)]


@dataclass
class _Group:
    """Folded nodes that hang together by values and by constants large enough to matter."""

    makes: list[Variable]
    removes: dict[Constant, None]


def _worth_it(model: Model, facts: Facts, nodes: list[Node]) -> dict[Node, None]:
    """The nodes whose folding does not make the file grow."""
    folded = dict.fromkeys(nodes)
    while True:
        refused = [_largest(group, facts) for group in _groups(facts, folded) if _growth(group, facts, folded) > 0]
        if not refused:
            return folded
        for node in refused:
            folded.pop(node, None)
        folded = _still_constant(folded, facts)


def _still_constant(folded: dict[Node, None], facts: Facts) -> dict[Node, None]:
    kept: dict[Node, None] = {}
    for node in folded:
        if all(facts.constant(t) is not None or t.inputs[0] in kept for t in node.inputs if t.name):
            kept[node] = None
    return kept


def _largest(group: _Group, facts: Facts) -> Node:
    return max(group.makes, key=lambda out: facts.nbytes(out) or 0).inputs[0]


def _growth(group: _Group, facts: Facts, folded: dict[Node, None]) -> int:
    added = sum((facts.nbytes(out) or 0) - GROWTH for out in group.makes)
    return added - sum(c.nbytes for c in group.removes if all(reader in folded for reader in c.outputs))


def _groups(facts: Facts, folded: dict[Node, None]) -> list[_Group]:
    parent: dict[Node | Constant, Node | Constant] = {}

    def root(item: Node | Constant) -> Node | Constant:
        parent.setdefault(item, item)
        while parent[item] is not item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for node in folded:
        for tensor in node.inputs:
            source = facts.constant(tensor) if tensor.name else None
            if source is not None and source.nbytes > GROWTH:
                parent[root(node)] = root(source)
            elif source is None and tensor.name:
                parent[root(node)] = root(tensor.inputs[0])
    groups: dict[Node | Constant, _Group] = {}
    for node in folded:
        group = groups.setdefault(root(node), _Group([], {}))
        group.makes += _frontier(node, folded)
        group.removes.update((c, None) for c in map(facts.constant, node.inputs) if c is not None)
    return [group for group in groups.values() if group.makes]


def _evaluate(model: Model, folded: dict[Node, None], wanted: list[Variable]) -> list[np.ndarray]:
    """The values of `wanted`, computed by onnxruntime without its own rewriting."""
    graph = Graph("constants")
    twins: dict[Tensor, Tensor] = {}
    for node in folded:
        inputs = [_twin(t, twins, graph) for t in node.inputs]
        outputs = [_twin(t, twins, graph) for t in node.outputs]
        twin = Node(node.op, "", node.attrs, inputs, outputs, node.domain)
        twin.graph = graph
        graph.nodes.append(twin)
    graph.outputs = [twins[out] for out in wanted]
    values = create(Model(graph, model.header), optimize=False).run({})
    return [values[out.name] for out in graph.outputs]


def _twin(tensor: Tensor, twins: dict[Tensor, Tensor], graph: Graph) -> Tensor:
    """A copy of `tensor` under a name of its own, because bodies may use one name for different values."""
    if tensor in twins or not tensor.name:
        return twins.get(tensor) or Variable("")
    source = constant_of(tensor)
    name = f"v{len(twins)}"
    if source is None:
        twins[tensor] = Variable(name)
    else:
        graph.initializers.append(Constant(name, source.stored))
        twins[tensor] = graph.initializers[-1]
    return twins[tensor]
