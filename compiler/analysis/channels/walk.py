"""The walk over a graph that assigns atoms to every axis of every tensor, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.analysis.channels.atoms import Atoms
from onnx_compress.compiler.analysis.channels.integers import Integers
from onnx_compress.compiler.analysis.channels.mends import Mend, Pin
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Constant, Dim, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import LEAST_IR_OF_DEFAULTS, Model
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.runtime.shapes.inference import Shapes

TIED_RANK = 2
"""A shared constant with fewer axes of more than one element than this is not tied, but copied where readers differ."""


@dataclass(frozen=True)
class Fixed:
    """An axis that can't be pruned, with the reason."""

    why: str


Axis: TypeAlias = np.ndarray | Fixed
"""One axis: an atom per position, or fixed as a whole."""
SINGLE = Fixed("it has one element")


@dataclass(frozen=True, eq=False)
class Place:
    """One axis of a constant as one node reads it: `atoms[i]` is the atom of index i.

    `role`: 'out' for the outputs of a product with this weight, 'in' for the axis that the product sums over,
    'scale' for the factors of a normalization, 'shift' for added values, otherwise ''.
    """

    node: Node
    slot: int
    axis: int
    atoms: np.ndarray
    role: str


@dataclass(frozen=True, eq=False)
class Work:
    """Multiply-accumulates of one node: the product of the lengths of `tracked` and of `others` (tensor, axis)."""

    node: Node
    tracked: tuple[np.ndarray, ...]
    others: tuple[tuple[Tensor, int], ...]


@dataclass(frozen=True, eq=False)
class Crossing:
    """An axis that `node` splits into factors of `sizes`, or merges from them: only one of them can be cut."""

    node: Node
    atoms: np.ndarray
    sizes: tuple[int, ...]


Rule: TypeAlias = "Callable[[Walk, Node], None]"


@dataclass
class Walk:
    """The state that the rules read and write.

    `cut` is the factor to cut where an axis is split (0 the outermost, at most the innermost); `cuts` overrides it
    for single nodes.
    """

    shapes: Shapes
    opset: int = 0
    cut: int = 0
    cuts: Mapping[Node, int] = field(default_factory=dict)
    atoms: Atoms = field(default_factory=Atoms)
    axes: dict[Tensor, list[Axis]] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    mends: list[Mend] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.integers = Integers(self.extents)
        self._unranked: set[Tensor] = set()
        self._learned: dict[Tensor, tuple[Dim, ...]] = {}
        self._constants: dict[tuple[Node, int], list[Axis]] = {}
        self._defaults: set[Tensor] = set()
        self._looked_up: set[Tensor] = set()
        self._rules: Mapping[str, Rule] = {}

    def run(self, model: Model, rules: Mapping[str, Rule]) -> None:
        """Walk over the graph, and over each body at its node."""
        self._rules = rules
        self._defaults = {tensor for tensor in model.graph.inputs if model.header.ir_version >= LEAST_IR_OF_DEFAULTS}
        self._closed(model.graph, "graph")
        self._tie()

    def enter(self, body: Graph) -> None:
        """Walk over the nodes of a graph whose inputs are known."""
        for node in body.nodes:
            self._node(node)

    def _closed(self, graph: Graph, kind: str) -> None:
        """Walk over a graph whose inputs and outputs are fixed."""
        for tensor in graph.inputs:
            if isinstance(tensor, Variable):
                self.forget(tensor, f"{kind} input '{tensor.name}'")
        self.enter(graph)
        for tensor in graph.outputs:
            self.fix_tensor(self.axes.get(tensor), f"{kind} output '{tensor.name}'")

    def _node(self, node: Node) -> None:
        self.integers.follow(node)
        rule = self._rules.get(ops.key(node))
        if node.is_op("Constant") or (node.is_op("Identity") and constant_of(node.inputs[0]) is not None):
            return  # readers see the constant itself
        if rule is None:
            self.give_up(node, f"no rule for {node.op}")
            return
        unranked = [tensor for tensor in node.inputs if tensor in self._unranked]
        if unranked:
            self.give_up(node, f"the rank of '{unranked[0].name}' is unknown")
            return
        if self._is_lookup(node):
            self.give_up(node, "its weight is decoded with a table")
            self._looked_up.update(node.outputs)
            return
        rule(self, node)
        self._pin(node)
        for out in node.outputs:
            if out not in self.axes:
                self.forget(out, f"computed by {node.label()}")

    def _is_lookup(self, node: Node) -> bool:
        """Whether a node looks up a weight's bytes in a table, or reshapes the result of such a lookup.

        Indices of more bits, such as positions in an embedding table, select rows that stay whole.
        """
        if node.op == "Gather":
            table, indices = (constant_of(self._source(tensor)) for tensor in node.inputs[:2])
            return table is not None and indices is not None and np.dtype(indices.stored.dtype).itemsize == 1
        return ops.of(node).movement is not None and node.inputs[0] in self._looked_up

    def _source(self, tensor: Tensor) -> Tensor:
        """The input of the Cast that computes the tensor, or the tensor itself."""
        is_cast = isinstance(tensor, Variable) and tensor.inputs and tensor.inputs[0].is_op("Cast")
        return tensor.inputs[0].inputs[0] if is_cast else tensor

    def _pin(self, node: Node) -> None:
        for slot in ops.of(node).sizes:
            if not self.has(node, slot) or node.inputs[slot] not in self.integers.sources:
                continue
            values = self.integers.of(node.inputs[slot])
            if values is None:
                self.fix_sources(node, slot)
            else:
                self.mends.append(Pin(node, slot, values))

    def fix_sources(self, node: Node, slot: int) -> None:
        """Fix the shapes from which this input is computed in a way that is not analysed."""
        for source in self.integers.sources.get(node.inputs[slot], ()):
            self.fix_tensor(self.axes.get(source), f"its length is used by {node.label()}")

    def give_up(self, node: Node, why: str) -> None:
        """Fix everything that `node` reads and computes."""
        for slot, tensor in enumerate(node.inputs):
            if (node, slot) in self._constants or (tensor.name and constant_of(tensor) is None):
                self.fix_tensor(self.read(node, slot), f"{why} ({node.label()})")
            self.fix_sources(node, slot)
        for body in node.bodies():
            self.freeze(body, f"it is read in a body ({node.label()})")
            self._closed(body, "body")
        for out in node.outputs:
            self.forget(out, f"{why} ({node.label()})")

    def forget(self, tensor: Tensor, why: str) -> None:
        """Fix all axes of a result of which at most the shape is known."""
        shape = self.shape(tensor)
        self.axes[tensor] = [Fixed(why)] * len(shape or ())
        if shape is None and tensor.name:
            self._unranked.add(tensor)

    def freeze(self, body: Graph, why: str) -> None:
        """Fix everything a body reads and computes, as far as the walk has come."""
        for node in body.walk():
            for slot, tensor in enumerate(node.inputs):
                self.fix_tensor(self._constants.get((node, slot), self.axes.get(tensor)), why)
            for out in node.outputs:
                self.fix_tensor(self.axes.get(out), why)

    def shape(self, tensor: Tensor) -> tuple[Dim, ...] | None:
        """The known part of the tensor's shape; None if its rank is unknown."""
        constant = constant_of(tensor)
        if constant is not None:
            return tuple(constant.stored.shape)
        inferred, learned = self.shapes.shape(tensor.name), self._learned.get(tensor)
        if inferred is None or learned is None or len(inferred) != len(learned):
            return learned if inferred is None else inferred
        return tuple(own if dim is None else dim for dim, own in zip(inferred, learned))

    def extents(self, tensor: Tensor) -> Sequence[Dim] | None:
        """The tensor's shape, with the lengths of tracked axes."""
        shape = self.shape(tensor)
        axes = self.axes.get(tensor, [])
        if shape is None or len(axes) != len(shape):
            return shape
        return [len(axis) if isinstance(axis, np.ndarray) else size for axis, size in zip(axes, shape)]

    def learn(self, tensor: Tensor, shape: Sequence[Dim]) -> None:
        """Record a result's shape as the rules know it, where shape inference knows less."""
        self._learned[tensor] = tuple(shape)

    def size(self, tensor: Tensor, axis: int) -> Dim:
        """Length of one axis, if known."""
        shape = self.shape(tensor)
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None

    def has(self, node: Node, slot: int) -> bool:
        """Whether `node` has an input at `slot`."""
        return slot < len(node.inputs) and bool(node.inputs[slot].name)

    def read(self, node: Node, slot: int, roles: Sequence[str | None] | None = None) -> list[Axis]:
        """The axes of the input of `node` at `slot`; those of a constant get new atoms, recorded as places.

        `roles` are the roles of a constant's axes; None leaves an axis untracked (kernel width).
        """
        tensor = node.inputs[slot]
        constant = constant_of(tensor)
        if constant is None:
            if tensor not in self.axes:
                self.forget(tensor, "unknown")
            return self.axes[tensor]
        if (node, slot) not in self._constants:
            self._constants[node, slot] = self._constant(constant, node, slot, roles)
        return self._constants[node, slot]

    def _constant(self, constant: Constant, node: Node, slot: int, roles: Sequence[str | None] | None) -> list[Axis]:
        if constant.stored.dtype in (np.int64, np.int32) or constant in self._defaults:
            why = f"it is the default of input '{constant.name}'" if constant in self._defaults else "it holds indices"
            return [SINGLE if size == 1 else Fixed(why) for size in constant.stored.shape]
        found: list[Axis] = []
        for axis, size in enumerate(constant.stored.shape):
            role = roles[axis] if roles is not None and axis < len(roles) else ("" if roles is None else None)
            if size == 1 or role is None:
                found.append(SINGLE if size == 1 else Fixed("it is not a channel axis of the weight"))
                continue
            atoms = self.atoms.new(size)
            self.places.append(Place(node, slot, axis, atoms, role))
            found.append(atoms)
        return found

    def write(self, tensor: Tensor, axes: Sequence[Axis]) -> None:
        """Set the axes of a result."""
        if tensor.name:
            self.axes[tensor] = list(axes)

    def fix(self, axis: Axis, why: str) -> None:
        """Record that an axis can't be pruned."""
        if isinstance(axis, np.ndarray):
            self.atoms.fix(axis, why)

    def fix_tensor(self, axes: Sequence[Axis] | None, why: str) -> None:
        """Record that none of these axes can be pruned."""
        for axis in axes or ():
            self.fix(axis, why)

    def join(self, axes: Sequence[Axis], node: Node) -> Axis:
        """Unite axes into one: their positions are removed together, and a fixed axis fixes the others."""
        vectors = [axis for axis in axes if isinstance(axis, np.ndarray)]
        fixed = [axis for axis in axes if isinstance(axis, Fixed)]
        if not vectors:
            return fixed[0] if fixed else SINGLE
        if fixed or any(len(v) != len(vectors[0]) for v in vectors):
            why = fixed[0].why if fixed else f"its length does not match ({node.label()})"
            for vector in vectors:
                self.fix(vector, why)
            return Fixed(why)
        for vector in vectors[1:]:
            self.atoms.unite(vectors[0], vector)
        return vectors[0]

    def cut_of(self, node: Node, ways: int) -> int:
        """Which of `ways` factors to cut at this node."""
        return min(self.cuts.get(node, self.cut), ways - 1)

    def take_apart(self, node: Node, axis: np.ndarray, sizes: Sequence[int], taken: int | None = None) -> list[Axis]:
        """Split an axis into factors: the cut factor has one atom per index, for all positions with that index."""
        ways = [i for i, size in enumerate(sizes) if size > 1]
        if len(ways) < 2:
            return [axis if i in ways else SINGLE for i in range(len(sizes))]
        if taken is None:
            taken = ways[self.cut_of(node, len(ways))]
        self.crossings.append(Crossing(node, axis, tuple(sizes)))
        rows = np.moveaxis(axis.reshape(sizes), taken, 0).reshape(sizes[taken], -1)
        self.atoms.unite(rows[:, :1], rows[:, 1:])
        other = Fixed(f"{node.label()} is cut along another factor")
        return [rows[:, 0] if i == taken else other if i in ways else SINGLE for i in range(len(sizes))]

    def put_together(self, node: Node, parts: Sequence[Axis], sizes: Sequence[Dim]) -> Axis:
        """Merge `parts` into one axis, the last part varying fastest; only one part can stay tracked."""
        tracked = [i for i, part in enumerate(parts) if isinstance(part, np.ndarray)]
        if not tracked:
            return parts[0] if parts else SINGLE
        if any(not isinstance(size, int) for size in sizes):
            for i in tracked:
                self.fix(parts[i], f"{node.label()} joins it with an axis of unknown length")
            return Fixed(f"{node.label()} joins axes of unknown length")
        chosen = tracked[self.cut_of(node, len(tracked))]
        if len(tracked) > 1:
            vectors = [part for part in parts if isinstance(part, np.ndarray)]
            lengths = tuple(len(vector) for vector in vectors)
            self.crossings.append(Crossing(node, np.concatenate(vectors), lengths))
        for i in tracked:
            if i != chosen:
                self.fix(parts[i], f"{node.label()} is cut along another factor")
        view = [1] * len(parts)
        view[chosen] = -1
        atoms = parts[chosen]
        assert isinstance(atoms, np.ndarray)
        whole = np.broadcast_to(atoms.reshape(view), [int(s) for s in sizes if isinstance(s, int)])
        return np.ascontiguousarray(whole).reshape(-1)

    def mend(self, mend: Mend) -> None:
        """Record a change that removing atoms needs."""
        self.mends.append(mend)

    def work(self, node: Node, axes: Sequence[tuple[Axis, Tensor, int]]) -> None:
        """Record multiply-accumulates: the product of the lengths of these axes, given as (axis, tensor, index)."""
        tracked = tuple(axis for axis, _, _ in axes if isinstance(axis, np.ndarray))
        others = tuple((tensor, i) for axis, tensor, i in axes if not isinstance(axis, np.ndarray))
        self.works.append(Work(node, tracked, others))

    def _tie(self) -> None:
        """Keep a weight that several nodes read shared: its axes are united over all readers.

        Vectors are not tied, because exporters share equal ones (scales of 1, shifts of 0) between unrelated layers;
        they are copied when they come to differ.
        """
        readers: dict[tuple[int, int], Place] = {}
        tied: dict[int, bool] = {}
        for place in self.places:
            constant = constant_of(place.node.inputs[place.slot])
            assert constant is not None
            key = (id(constant), place.axis)
            first = readers.setdefault(key, place)
            if first is not place and tied.setdefault(id(constant), _is_tied(constant)):
                self.atoms.unite(first.atoms, place.atoms)


def _is_tied(constant: Constant) -> bool:
    if sum(size > 1 for size in constant.stored.shape) < TIED_RANK:
        return False
    values = constant.values
    return bool((values != values.flat[0]).any())
