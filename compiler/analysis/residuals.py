"""Residual branches: a value computed from x and added to x.

y = x + F(x): without the branch F the model still runs, with y = x. F is what depth pruning removes: the
convolutions of a residual block, or the attention or MLP of a transformer block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from typing import Self

from onnx_compress.compiler.analysis.macs import FORMULAS
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.extract import reads
from onnx_compress.compiler.ir.graph import Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model

MOST_STEPS = 16
"""Maximum number of node visits per node of the graph: the mean nesting depth of branches that is still analysed."""


@dataclass(frozen=True, eq=False)
class Residual:
    """y = x + F(x): `add` computes y, and reads x at input `slot` and `result`, F(x), at the other input.

    `nodes` are the branch, in graph order: the nodes needed only for the addition.
    """

    add: Node
    slot: int
    result: Variable
    nodes: tuple[Node, ...]

    @property
    def shortcut(self) -> Tensor:
        """The present x of the addition; it changes if a branch before this one is removed."""
        return self.add.inputs[self.slot]

    @cached_property
    def layers(self) -> tuple[Node, ...]:
        """The nodes of the branch with multiply-accumulates, in themselves or in their bodies."""
        return tuple(node for node in self.nodes if _multiplies(node))

    @property
    def label(self) -> str:
        """The label of the branch: that of its last layer."""
        return self.layers[-1].label()


@dataclass(frozen=True, eq=False)
class Residuals:
    """The residual branches of the main graph, in graph order.

    A branch needs at least one layer. Besides x it may read any values that do not depend on x: masks, the output of
    an encoder, sizes. `refused` are the additions to x whose branch can't be removed because a part of it is also
    needed elsewhere, with the reason.
    """

    branches: tuple[Residual, ...]
    refused: tuple[tuple[Node, str], ...]

    @classmethod
    def of(cls, model: Model) -> Self:
        """The residual branches of `model`."""
        found = list(_Walk(model).branches())
        branches = tuple(item for item in found if isinstance(item, Residual))
        return cls(branches, tuple(item for item in found if isinstance(item, tuple)))


class _Walk:
    """Facts about the main graph: where values are computed, who reads them, and on which shortcuts they depend.

    Nodes are identified by their positions.
    """

    def __init__(self, model: Model) -> None:
        self.nodes = model.graph.nodes
        self.place: dict[Tensor, int] = dict.fromkeys(model.graph.inputs, -1)
        self.place.update((out, i) for i, node in enumerate(self.nodes) for out in node.outputs)
        self.outputs = set(model.graph.outputs)
        self.fixed = _fixed(model.graph)
        self.needs = [[tensor for tensor in reads(node) if tensor in self.place] for node in self.nodes]
        self.readers: list[set[int]] = [set() for _ in self.nodes]
        for i, needs in enumerate(self.needs):
            for place in (self.place[tensor] for tensor in needs):
                if place >= 0:
                    self.readers[place].add(i)
        for place in (self.place.get(tensor, -1) for tensor in self.outputs):
            if place >= 0:
                self.readers[place].add(len(self.nodes))
        self.terms = {i: self._terms(i) for i, node in enumerate(self.nodes) if self._is_addition(node)}
        self.bits = {shortcut: 1 << i for i, shortcut in enumerate(dict.fromkeys(t for t, _ in self.terms.values()))}
        self.behind: dict[Tensor, int] = {}
        """The shortcuts on which a value depends, as bits."""
        self.layered: dict[Tensor, int] = {}
        """The shortcuts on which it depends through a layer, as bits."""
        for i in range(len(self.nodes)):
            self._follow(i)
        self.steps = MOST_STEPS * len(self.nodes)

    def _is_addition(self, node: Node) -> bool:
        is_one = ops.of(node).adds and len(node.inputs) == 2 and node.inputs[0] is not node.inputs[1]
        return is_one and all(term in self.place and term not in self.fixed for term in node.inputs)

    def _terms(self, add: int) -> tuple[Tensor, Tensor]:
        """The two summands: the one computed first, and the one that may depend on it."""
        first, second = sorted(self.nodes[add].inputs, key=self.place.__getitem__)
        return first, second

    def _follow(self, i: int) -> None:
        behind = layered = 0
        for tensor in self.needs[i]:
            behind |= self.behind.get(tensor, 0) | self.bits.get(tensor, 0)
            layered |= self.layered.get(tensor, 0)
        if behind and _multiplies(self.nodes[i]):
            layered = behind
        for out in self.nodes[i].outputs:
            if behind and out not in self.fixed:
                self.behind[out], self.layered[out] = behind, layered

    def branches(self) -> Iterator[Residual | tuple[Node, str]]:
        """Each branch, or an addition that only looks like the end of a branch, with the reason."""
        for i, (shortcut, result) in self.terms.items():
            if self.layered.get(result, 0) & self.bits[shortcut]:
                yield self._branch(i, shortcut, result)

    def _branch(self, add: int, shortcut: Tensor, result: Tensor) -> Residual | tuple[Node, str]:
        node, bit = self.nodes[add], self.bits[shortcut]
        owned = self._owned(self.place[result], add, self.place[shortcut])
        if owned is None:
            return node, "its branch is not analysed: too many nested branches"
        read = {tensor for i in owned for tensor in self.needs[i]} | {result}
        entering = (tensor for tensor in read if self.place[tensor] not in owned and tensor is not shortcut)
        shared = [tensor for tensor in entering if self.behind.get(tensor, 0) & bit]
        if shared:
            first = min(shared, key=self.place.__getitem__)
            why = "is an output" if first in self.outputs else "is also read elsewhere"
            return node, f"its branch can't be removed: '{first.name}' in it {why}"
        assert isinstance(result, Variable)
        slot = 0 if node.inputs[0] is shortcut else 1
        return Residual(node, slot, result, tuple(self.nodes[i] for i in sorted(owned)))

    def _owned(self, result: int, add: int, shortcut: int) -> set[int] | None:
        """The nodes needed only for `add`, from `result` backwards, without the one that computes the shortcut."""
        owned = {add}
        waiting, seen = [-result], {result, shortcut}
        while waiting:  # the last node first, so that all possible readers of a node have been visited before it
            i = -heappop(waiting)
            self.steps -= 1
            if self.steps < 0:
                return None
            if not self.readers[i] <= owned:
                continue
            owned.add(i)
            for place in (self.place[tensor] for tensor in self.needs[i]):
                if place >= 0 and place not in seen:
                    seen.add(place)
                    heappush(waiting, -place)
        owned.discard(add)
        return owned


def _multiplies(node: Node) -> bool:
    return ops.key(node) in FORMULAS or any(_multiplies(inner) for body in node.bodies() for inner in body.nodes)


def _fixed(graph: Graph) -> set[Tensor]:
    """The values of `graph` that depend only on constants and on sizes of other values."""
    fixed: set[Tensor] = set(graph.initializers)
    for node in graph.nodes:
        is_free = ops.of(node).is_random or any(True for _ in node.bodies())
        is_size = node.is_op("Shape", "Size")
        if is_size or (not is_free and all(tensor in fixed or not tensor.name for tensor in node.inputs)):
            fixed.update(node.outputs)
    return fixed
