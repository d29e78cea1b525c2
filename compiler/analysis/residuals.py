"""Residual branches: what an addition adds to a value, computed from that value.

y = x + F(x): without the branch F the model still runs, with y = x. So F is what depth pruning removes: the
convolutions of a residual block, attention or the MLP of a transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Self

from onnx_compress.compiler.analysis.macs import FORMULAS, key
from onnx_compress.compiler.ir.extract import reads
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model


@dataclass(frozen=True, eq=False)
class Residual:
    """y = x + F(x): `add` gives y, reads x at input `slot` and `result`, F(x), at the other.

    `nodes` are the branch, in their order: those that nothing needs but the addition.
    """

    add: Node
    slot: int
    result: Variable
    nodes: tuple[Node, ...]

    @property
    def shortcut(self) -> Tensor:
        """x: what the addition reads now, another value once a branch before this one is gone."""
        return self.add.inputs[self.slot]

    @cached_property
    def layers(self) -> tuple[Node, ...]:
        """The nodes of the branch that multiply, or hold such nodes in their bodies."""
        return tuple(node for node in self.nodes if _multiplies(node))

    @property
    def label(self) -> str:
        """The branch by its last layer."""
        return self.layers[-1].label()


@dataclass(frozen=True, eq=False)
class Residuals:
    """The residual branches of the main graph, in its order.

    A branch may hold any nodes, one that multiplies at least, and may read beside x what does not depend on x: masks,
    the output of an encoder, sizes. `refused` are the additions of x and something that layers compute from x where
    others need a part of that too, and what.
    """

    branches: tuple[Residual, ...]
    refused: tuple[tuple[Node, str], ...]

    @classmethod
    def of(cls, model: Model) -> Self:
        """Find them."""
        walk = _Walk(model)
        found = [walk.branch(node) for node in model.graph.nodes if _is_addition(node)]
        branches = tuple(item for item in found if isinstance(item, Residual))
        return cls(branches, tuple(item for item in found if isinstance(item, tuple)))


class _Walk:
    """What is known of the main graph: where values are computed, and on which shortcuts they depend."""

    def __init__(self, model: Model) -> None:
        self.graph = model.graph
        self.position = {node: i for i, node in enumerate(model.graph.nodes)}
        self.made = {out: node for node in model.graph.nodes for out in node.outputs}
        self.inputs = set(model.graph.inputs)
        self.outputs = {out for graph in model.graphs() for out in graph.outputs}
        self.fixed = _fixed(model.graph)
        self._bits: dict[Tensor, int] = {}
        """One bit for each value that may be a shortcut."""
        for node in model.graph.nodes:
            if _is_addition(node) and all(map(self._is_computed, node.inputs)):
                self._bits.setdefault(self._terms(node)[0], 1 << len(self._bits))
        self._behind: dict[Tensor, int] = {}
        """The bits of the shortcuts that a value depends on."""
        self._layered: dict[Tensor, int] = {}
        """Of those that it depends on through a layer."""
        for node in model.graph.nodes:
            self._follow(node)

    def _follow(self, node: Node) -> None:
        behind = layered = 0
        for tensor in reads(node):
            if tensor not in self.fixed:
                behind |= self._behind.get(tensor, 0) | self._bits.get(tensor, 0)
                layered |= self._layered.get(tensor, 0)
        if _multiplies(node):
            layered = behind
        for out in node.outputs:
            if behind and out not in self.fixed:
                self._behind[out], self._layered[out] = behind, layered

    def branch(self, add: Node) -> Residual | tuple[Node, str] | None:
        """The branch that `add` adds to its shortcut, or why it is none; None where nothing looks like one."""
        if not all(map(self._is_computed, add.inputs)):
            return None
        shortcut, result = self._terms(add)
        bit = self._bits[shortcut]
        if not self._layered.get(result, 0) & bit:
            return None
        nodes = self._owned(result, add, shortcut)
        shared = [t for t in self._entering(nodes, result) if t is not shortcut and self._behind.get(t, 0) & bit]
        if shared:
            first = min(shared, key=self._place)
            why = "is an output too" if first in self.outputs else "is read elsewhere too"
            return add, f"its branch can't go: '{first.name}' in it {why}"
        assert isinstance(result, Variable)
        slot = 0 if add.inputs[0] is shortcut else 1
        return Residual(add, slot, result, tuple(sorted(nodes, key=self.position.__getitem__)))

    def _terms(self, add: Node) -> tuple[Tensor, Tensor]:
        """What `add` adds: the value that is there first, and the one that may be computed from it."""
        one, other = add.inputs
        return (one, other) if self._place(one) <= self._place(other) else (other, one)

    def _is_computed(self, tensor: Tensor) -> bool:
        return tensor not in self.fixed and (tensor in self.made or tensor in self.inputs)

    def _place(self, tensor: Tensor) -> int:
        """Position of the node that computes a value; -1 for inputs of the model."""
        return self.position[self.made[tensor]] if tensor in self.made else -1

    def _owned(self, result: Tensor, add: Node, shortcut: Tensor) -> set[Node]:
        """The nodes in front of `result` that nothing needs but `add`; the one that gives `shortcut` left out."""
        nodes: set[Node] = set()
        waiting = [-self._place(result)]
        seen = set(waiting)
        heapify(waiting)
        while waiting:  # the last node first, so that all that may need a node have been looked at
            node = self.graph.nodes[-heappop(waiting)]
            if any(out is shortcut or not self._is_for(out, nodes, add) for out in node.outputs):
                continue
            nodes.add(node)
            for tensor in reads(node):
                place = -self._place(tensor) if tensor in self.made and tensor not in self.fixed else 1
                if place <= 0 and place not in seen:
                    seen.add(place)
                    heappush(waiting, place)
        return nodes

    def _is_for(self, value: Tensor, nodes: set[Node], add: Node) -> bool:
        """Whether nothing needs `value` but `nodes` and `add`."""
        if value in self.outputs:
            return False
        return all(owner is add or owner in nodes for owner in map(self._owner, value.outputs))

    def _owner(self, node: Node) -> Node:
        """The node of the main graph that is `node`, or holds it in a body."""
        while node.graph is not self.graph:
            assert node.graph is not None
            assert node.graph.parent is not None
            node = node.graph.parent
        return node

    def _entering(self, nodes: set[Node], result: Tensor) -> set[Tensor]:
        """The values that `nodes` read and do not compute; `result` itself where they do not compute it."""
        read = {tensor for node in nodes for tensor in reads(node)} | {result}
        return {tensor for tensor in read if self._is_computed(tensor) and self.made.get(tensor) not in nodes}


def _is_addition(node: Node) -> bool:
    return node.is_op("Add", "Sum") and len(node.inputs) == 2 and node.inputs[0] is not node.inputs[1]


def _multiplies(node: Node) -> bool:
    return key(node) in FORMULAS or any(_multiplies(inner) for body in node.bodies() for inner in body.nodes)


def _fixed(graph: Graph) -> set[Tensor]:
    """The values of `graph` that depend on nothing but constants and the sizes of other values."""
    fixed: set[Tensor] = set(graph.initializers)
    fixed -= {tensor for tensor in graph.inputs if isinstance(tensor, Constant)}
    for node in graph.nodes:
        is_free = node.op.startswith("Random") or any(True for _ in node.bodies())
        is_size = node.is_op("Shape", "Size")
        if is_size or (not is_free and all(tensor in fixed or not tensor.name for tensor in node.inputs)):
            fixed.update(node.outputs)
    return fixed
