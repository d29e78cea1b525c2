"""The constant computations to fold: those that do not make the file grow.

Nodes form a group if they are connected by values or by shared constants, because a weight is removed only
together with all its readers. A group's result counts once if several nodes compute it, for example in the
branches of an If.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from onnx_compress.compiler.ir.graph import Constant, Node, Tensor, Variable
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.share_duplicates import attributes_key, constant_key

GROWTH = 256
"""Bytes by which the file may grow per initializer that folding creates; about the size of the folded node."""

Made = dict[Hashable, list[Variable]]


@dataclass
class ConstantGroup:
    """Constant nodes in order, their values read by the rest of the model (by a key of the computation), and inputs."""

    nodes: list[Node] = field(default_factory=list)
    makes: Made = field(default_factory=dict)
    reads: dict[Constant, None] = field(default_factory=dict)

    def enter(self, node: Node, facts: Facts, folded: dict[Node, Hashable]) -> None:
        """Take in the next node."""
        self.nodes.append(node)
        self.reads.update((c, None) for c in map(facts.constant, node.inputs) if c is not None)
        for slot, out in enumerate(node.outputs):
            if isinstance(out, Variable) and any(reader not in folded for reader in out.outputs):
                self.makes.setdefault((folded[node], slot), []).append(out)

    def growth(self, facts: Facts, folded: dict[Node, Hashable]) -> int:
        """Bytes that folding adds to the file."""
        added = sum((facts.nbytes(outs[0]) or 0) - GROWTH for outs in self.makes.values())
        gone = [c for c in self.reads if c not in facts.results and all(reader in folded for reader in c.outputs)]
        return added - sum(constant.nbytes for constant in gone)

    def largest(self, facts: Facts) -> list[Node]:
        """The nodes that compute the largest result of the group."""
        outs = max(self.makes.values(), key=lambda outs: facts.nbytes(outs[0]) or 0)
        return [out.inputs[0] for out in outs]


def groups_that_pay(facts: Facts, nodes: Iterable[Node]) -> list[ConstantGroup]:
    """Split `nodes`, which depend only on constants and each other, into groups; drop nodes until no group grows."""
    folded = _numbered(facts, nodes)
    while True:
        groups = _groups(facts, folded)
        refused = {node for group in groups if group.growth(facts, folded) > 0 for node in group.largest(facts)}
        if not refused:
            return groups
        folded = _numbered(facts, [node for node in folded if node not in refused])


def _numbered(facts: Facts, nodes: Iterable[Node]) -> dict[Node, Hashable]:
    """The nodes that depend only on constants and each other, with a key that is equal for equal computations."""
    keys: dict[Hashable, int] = {}
    numbers: dict[Node, Hashable] = {}
    for node in nodes:
        inputs = [_input(tensor, facts, numbers) for tensor in node.inputs]
        if None not in inputs:
            key = (node.op, attributes_key(node), tuple(inputs))
            numbers[node] = keys.setdefault(key, len(keys))
    return numbers


def _input(tensor: Tensor, facts: Facts, numbers: dict[Node, Hashable]) -> Hashable | None:
    if not tensor.name:
        return ""
    constant = facts.constant(tensor)
    if constant is not None:
        return constant_key(constant)
    producer = tensor.inputs[0] if tensor.inputs else None
    return None if producer not in numbers else (numbers[producer], _slot(producer, tensor))


def _slot(producer: Node, tensor: Tensor) -> int:
    return next(slot for slot, out in enumerate(producer.outputs) if out is tensor)


def _groups(facts: Facts, folded: dict[Node, Hashable]) -> list[ConstantGroup]:
    parent: dict[Node | Constant, Node | Constant] = {}

    def root(item: Node | Constant) -> Node | Constant:
        parent.setdefault(item, item)
        while parent[item] is not item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for node in folded:
        for tensor in (t for t in node.inputs if t.name):
            constant = facts.constant(tensor)
            if constant is None:
                parent[root(node)] = root(tensor.inputs[0])
            elif constant.nbytes > GROWTH:
                parent[root(node)] = root(constant)
    groups: dict[Node | Constant, ConstantGroup] = {}
    for node in folded:
        groups.setdefault(root(node), ConstantGroup()).enter(node, facts, folded)
    return [group for group in groups.values() if group.makes]
