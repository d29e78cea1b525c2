"""The walk over a graph that gives every axis of every tensor its atoms, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.analysis.channels.atoms import Atoms
from onnx_compress.compiler.analysis.channels.integers import Integers
from onnx_compress.compiler.analysis.channels.mends import Mend, Pin
from onnx_compress.compiler.ir.graph import Constant, Dim, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.runtime.shapes.inference import Shapes

TIED_RANK = 2
"""A shared constant with fewer axes than this (of more than one element) is copied where readers differ, not tied."""


READS_SHAPES = {
    "Reshape": (1,),
    "Expand": (1,),
    "ConstantOfShape": (0,),
    "Slice": (1, 2),
    "Pad": (1,),
    "Tile": (1,),
    "Resize": (3,),
    "Split": (1,),
    "Range": (0, 1, 2),
}
"""Inputs that say how large something is, and are often computed from the shape of something else."""


WITH_DEFAULTS = 4
"""From this IR version on an initializer that is an input too is a default, before every initializer had to be one."""


@dataclass(frozen=True)
class Fixed:
    """An axis that can't be pruned, and why."""

    why: str


Axis: TypeAlias = np.ndarray | Fixed
"""What is known of one axis: an atom per position, or that it is fixed as a whole."""
SINGLE = Fixed("it has one element")


@dataclass(frozen=True, eq=False)
class Place:
    """One axis of a constant as one node reads it: `atoms[i]` is what index i of the axis goes with.

    `role`: 'out' where the axis counts the results of a product with this weight, 'in' where it counts what
    is summed over, 'scale' for the factors of a normalization, 'shift' for what is added, otherwise ''.
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
    """An axis that `node` takes apart into factors of `sizes`, or makes of them: one of them may be cut."""

    node: Node
    atoms: np.ndarray
    sizes: tuple[int, ...]


Rule: TypeAlias = "Callable[[Walk, Node], None]"


@dataclass
class Walk:
    """What the rules read and write.

    `cut` is the factor to take where an axis is taken apart (0 the outermost, at most the innermost);
    `cuts` says otherwise for single nodes.
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
        """Walk over the graph, and over the bodies in it where their nodes stand."""
        self._rules = rules
        self._defaults = {tensor for tensor in model.graph.inputs if model.header.ir_version >= WITH_DEFAULTS}
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
        rule = self._rules.get(node.op) if node.is_standard else None
        if node.is_op("Constant") or (node.is_op("Identity") and constant_of(node.inputs[0]) is not None):
            return  # whoever reads the result sees the constant itself
        if rule is None:
            self.give_up(node, f"there is no rule for {node.op}")
            return
        unranked = [tensor for tensor in node.inputs if tensor in self._unranked]
        if unranked:
            self.give_up(node, f"the rank of '{unranked[0].name}' is not known")
            return
        if self._is_lookup(node):
            self.give_up(node, "a weight is decoded here by a table")
            self._looked_up.update(node.outputs)
            return
        rule(self, node)
        self._pin(node)
        for out in node.outputs:
            if out not in self.axes:
                self.forget(out, f"computed by {node.label()}")

    def _is_lookup(self, node: Node) -> bool:
        """Whether a node looks up the bytes of a weight in a table, or gives what was looked up a shape.

        Indices of more bits, as of positions in a table of embeddings, stand for rows that stay whole.
        """
        if node.op == "Gather":
            table, indices = (constant_of(self._source(tensor)) for tensor in node.inputs[:2])
            return table is not None and indices is not None and np.dtype(indices.stored.dtype).itemsize == 1
        return node.op in ("Reshape", "Slice", "Cast") and node.inputs[0] in self._looked_up

    def _source(self, tensor: Tensor) -> Tensor:
        """What a Cast reads, or the tensor itself."""
        is_cast = isinstance(tensor, Variable) and tensor.inputs and tensor.inputs[0].is_op("Cast")
        return tensor.inputs[0].inputs[0] if is_cast else tensor

    def _pin(self, node: Node) -> None:
        for slot in READS_SHAPES.get(node.op, ()):
            if not self.has(node, slot) or node.inputs[slot] not in self.integers.sources:
                continue
            values = self.integers.of(node.inputs[slot])
            if values is None:
                self.fix_sources(node, slot)
            else:
                self.mends.append(Pin(node, slot, values))

    def fix_sources(self, node: Node, slot: int) -> None:
        """What this input is computed from, in a way that is not followed, must keep its shape."""
        for source in self.integers.sources.get(node.inputs[slot], ()):
            self.fix_tensor(self.axes.get(source), f"its length goes into {node.label()}")

    def give_up(self, node: Node, why: str) -> None:
        """Fix everything that `node` reads and computes."""
        for slot, tensor in enumerate(node.inputs):
            if (node, slot) in self._constants or (tensor.name and constant_of(tensor) is None):
                self.fix_tensor(self.read(node, slot), f"{why} ({node.label()})")
        for body in node.bodies():
            self.freeze(body, f"it is read inside a body ({node.label()})")
            self._closed(body, "body")
        for out in node.outputs:
            self.forget(out, f"{why} ({node.label()})")

    def forget(self, tensor: Tensor, why: str) -> None:
        """Nothing is known of a result but its shape, if that."""
        shape = self.shape(tensor)
        self.axes[tensor] = [Fixed(why)] * len(shape or ())
        if shape is None and tensor.name:
            self._unranked.add(tensor)

    def freeze(self, body: Graph, why: str) -> None:
        """Fix what a body reads and computes, as far as the walk has come."""
        for node in body.walk():
            for slot, tensor in enumerate(node.inputs):
                self.fix_tensor(self._constants.get((node, slot), self.axes.get(tensor)), why)
            for out in node.outputs:
                self.fix_tensor(self.axes.get(out), why)

    def shape(self, tensor: Tensor) -> tuple[Dim, ...] | None:
        """The tensor's shape as far as it is known; None when not even its rank is."""
        constant = constant_of(tensor)
        if constant is not None:
            return tuple(constant.stored.shape)
        inferred, learned = self.shapes.shape(tensor.name), self._learned.get(tensor)
        if inferred is None or learned is None or len(inferred) != len(learned):
            return learned if inferred is None else inferred
        return tuple(own if dim is None else dim for dim, own in zip(inferred, learned))

    def extents(self, tensor: Tensor) -> Sequence[Dim] | None:
        """The tensor's shape, of tracked axes as they are tracked."""
        shape = self.shape(tensor)
        axes = self.axes.get(tensor, [])
        if shape is None or len(axes) != len(shape):
            return shape
        return [len(axis) if isinstance(axis, np.ndarray) else size for axis, size in zip(axes, shape)]

    def learn(self, tensor: Tensor, shape: Sequence[Dim]) -> None:
        """What the rules know of a result's shape, for where shape inference knows less."""
        self._learned[tensor] = tuple(shape)

    def size(self, tensor: Tensor, axis: int) -> Dim:
        """Length of one axis, as far as it is known."""
        shape = self.shape(tensor)
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None

    def has(self, node: Node, slot: int) -> bool:
        """Whether `node` reads anything at `slot`."""
        return slot < len(node.inputs) and bool(node.inputs[slot].name)

    def read(self, node: Node, slot: int, roles: Sequence[str | None] | None = None) -> list[Axis]:
        """The axes of what `node` reads at `slot`; those of a constant are new atoms, noted as a place.

        `roles` says what each axis of a constant is for; None there leaves an axis alone (kernel width).
        """
        tensor = node.inputs[slot]
        constant = constant_of(tensor)
        if constant is None:
            if tensor not in self.axes:
                self.forget(tensor, "nothing is known of it")
            return self.axes[tensor]
        if (node, slot) not in self._constants:
            self._constants[node, slot] = self._constant(constant, node, slot, roles)
        return self._constants[node, slot]

    def _constant(self, constant: Constant, node: Node, slot: int, roles: Sequence[str | None] | None) -> list[Axis]:
        if constant.stored.dtype in (np.int64, np.int32) or constant in self._defaults:
            why = f"input '{constant.name}' has it as default" if constant in self._defaults else "these are indices"
            return [SINGLE if size == 1 else Fixed(why) for size in constant.stored.shape]
        found: list[Axis] = []
        for axis, size in enumerate(constant.stored.shape):
            role = roles[axis] if roles is not None and axis < len(roles) else ("" if roles is None else None)
            if size == 1 or role is None:
                found.append(SINGLE if size == 1 else Fixed("this axis of the weight is no channel"))
                continue
            atoms = self.atoms.new(size)
            self.places.append(Place(node, slot, axis, atoms, role))
            found.append(atoms)
        return found

    def write(self, tensor: Tensor, axes: Sequence[Axis]) -> None:
        """Say what the axes of a result are."""
        if tensor.name:
            self.axes[tensor] = list(axes)

    def fix(self, axis: Axis, why: str) -> None:
        """Say that an axis can't be pruned."""
        if isinstance(axis, np.ndarray):
            self.atoms.fix(axis, why)

    def fix_tensor(self, axes: Sequence[Axis] | None, why: str) -> None:
        """No axis of this can be pruned."""
        for axis in axes or ():
            self.fix(axis, why)

    def join(self, axes: Sequence[Axis], node: Node) -> Axis:
        """One axis that all of these are: positions go together, and what is fixed fixes the rest."""
        vectors = [axis for axis in axes if isinstance(axis, np.ndarray)]
        fixed = [axis for axis in axes if isinstance(axis, Fixed)]
        if not vectors:
            return fixed[0] if fixed else SINGLE
        if fixed or any(len(v) != len(vectors[0]) for v in vectors):
            why = fixed[0].why if fixed else f"its length does not fit ({node.label()})"
            for vector in vectors:
                self.fix(vector, why)
            return Fixed(why)
        for vector in vectors[1:]:
            self.atoms.unite(vectors[0], vector)
        return vectors[0]

    def cut_of(self, node: Node, ways: int) -> int:
        """Which of `ways` factors to take at this node."""
        return min(self.cuts.get(node, self.cut), ways - 1)

    def take_apart(self, node: Node, axis: np.ndarray, sizes: Sequence[int], taken: int | None = None) -> list[Axis]:
        """The factors of an axis: the one that is cut has an atom per index, for all positions with that index."""
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
        """The axis whose index runs over `parts`, the last one fastest; one of them may be tracked."""
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
        """Note what has to change with the atoms."""
        self.mends.append(mend)

    def work(self, node: Node, axes: Sequence[tuple[Axis, Tensor, int]]) -> None:
        """Note multiply-accumulates: the product of the lengths of these axes, each with where it stands."""
        tracked = tuple(axis for axis, _, _ in axes if isinstance(axis, np.ndarray))
        others = tuple((tensor, i) for axis, tensor, i in axes if not isinstance(axis, np.ndarray))
        self.works.append(Work(node, tracked, others))

    def _tie(self) -> None:
        """A weight that several nodes read stays one: its axes go together wherever they are tracked.

        Vectors are left apart, since exporters share equal ones (scales of 1, shifts of 0) between layers
        that have nothing in common; those are copied when they come to differ.
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
