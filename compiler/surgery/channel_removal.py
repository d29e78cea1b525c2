"""Remove channels, and update every weight, attribute, shape and origin that depends on them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from onnx_compress.compiler.analysis.channels.groups import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.integers import UNKNOWN
from onnx_compress.compiler.analysis.channels.mends import Count, Freeze, Pin, Renumber, Sizes, Squeezed
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node, Origin, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of

Slot = tuple[Node, int]
Edit = TypeVar("Edit")


@dataclass(frozen=True, eq=False)
class Cut:
    """The part of one group to remove: `gone` are indices into its `roots`."""

    group: Group
    gone: np.ndarray

    @property
    def kept(self) -> int:
        """Number of sets that stay."""
        return self.group.size - len(self.gone)

    def __str__(self) -> str:
        return f"{self.group.label}: {self.group.size} → {self.kept} channels"


@dataclass(frozen=True, eq=False)
class Removal:
    """Everything that changes if channels are removed: planned here, carried out by `apply`.

    `weights`: the kept indices of each axis, by reader of a constant. `integers`: new shapes, bounds and sizes
    by reader, UNKNOWN where they stay computed. `attributes`: new attributes. `tensors`: the kept indices of each
    axis of computed values.
    """

    weights: Mapping[Slot, Mapping[int, np.ndarray]]
    integers: Mapping[Slot, np.ndarray]
    attributes: Mapping[tuple[Node, str], object]
    tensors: Mapping[Variable, Mapping[int, np.ndarray]]

    @classmethod
    def of(cls, groups: ChannelGroups, cuts: tuple[Cut, ...]) -> Removal:
        """The changes needed to remove these channels."""
        gone = np.zeros(len(groups.sets.roots), bool)
        for cut in cuts:
            gone[cut.group.roots[cut.gone]] = True
        return _Decision(groups, ~gone[groups.sets.roots]).removal()


@dataclass
class _Decision:
    """`keep[a]`: whether atom a stays."""

    groups: ChannelGroups
    keep: np.ndarray
    integers: dict[Slot, np.ndarray] = field(default_factory=dict)
    attributes: dict[tuple[Node, str], object] = field(default_factory=dict)

    def removal(self) -> Removal:
        weights: dict[Slot, dict[int, np.ndarray]] = {}
        for place in self.groups.walk.places:
            if self.changes(place.atoms):
                weights.setdefault((place.node, place.slot), {})[place.axis] = self.kept(place.atoms)
        tensors = self.tensors()
        for mend in self.groups.walk.mends:
            self.mend(mend, tensors)
        return Removal(weights, self.integers, self.attributes, tensors)

    def changes(self, atoms: np.ndarray) -> bool:
        return not self.keep[atoms].all()

    def kept(self, atoms: np.ndarray) -> np.ndarray:
        return np.flatnonzero(self.keep[atoms])

    def tensors(self) -> dict[Variable, dict[int, np.ndarray]]:
        found: dict[Variable, dict[int, np.ndarray]] = {}
        for tensor, axes in self.groups.walk.axes.items():
            for i, axis in enumerate(axes):
                if isinstance(axis, np.ndarray) and isinstance(tensor, Variable) and self.changes(axis):
                    found.setdefault(tensor, {})[i] = self.kept(axis)
        return found

    def mend(self, mend: object, tensors: Mapping[Variable, object]) -> None:
        if isinstance(mend, Count):
            self.count(mend)
        elif isinstance(mend, Sizes):
            self.split(mend)
        elif isinstance(mend, Renumber):
            self.renumber(mend)
        elif isinstance(mend, Squeezed) and self.changes(mend.atoms):
            self.set_axes(mend)
        elif isinstance(mend, Pin) and self.follows(mend.node, mend.slot, tensors):
            self.integers.setdefault((mend.node, mend.slot), mend.values.copy())
        elif isinstance(mend, Freeze) and self.follows(mend.node, mend.slot, tensors):
            self.integers[mend.node, mend.slot] = mend.value

    def follows(self, node: Node, slot: int, tensors: Mapping[Variable, object]) -> bool:
        """Whether the integers at this input are computed from the shape of a tensor that changes."""
        sources = self.groups.walk.integers.sources.get(node.inputs[slot], ())
        return any(source in tensors for source in sources)

    def count(self, mend: Count) -> None:
        if not self.changes(mend.atoms if mend.whole is None else mend.whole):
            return
        number = int(self.keep[mend.atoms].sum())
        if isinstance(mend.where, int):
            values = self.read(mend.node, mend.where)
            assert mend.position is not None
            if values[mend.position] not in mend.keep:
                values[mend.position] = number
            return
        key = (mend.node, mend.where)
        before = self.attributes.get(key, mend.node.attrs.get(mend.where))
        if mend.position is None:
            self.attributes[key] = number
            return
        assert isinstance(before, tuple)
        self.attributes[key] = (*before[: mend.position], number, *before[mend.position + 1 :])

    def read(self, node: Node, slot: int) -> np.ndarray:
        """The integers at this input, as a mutable array; all UNKNOWN if nothing is known about them."""
        if (node, slot) not in self.integers:
            values = self.groups.walk.integers.of(node.inputs[slot])
            if values is None:
                rank = len(self.groups.walk.axes.get(node.outputs[0], ()))
                values = np.full(rank, UNKNOWN)
            self.integers[node, slot] = values.copy()
        return self.integers[node, slot]

    def split(self, mend: Sizes) -> None:
        if not any(self.changes(part) for part in mend.parts):
            return
        sizes = np.array([self.keep[part].sum() for part in mend.parts], np.int64)
        if self.groups.walk.opset >= 13:
            self.integers[mend.node, 1] = sizes
            self.attributes[mend.node, "num_outputs"] = None
        else:
            self.attributes[mend.node, "split"] = tuple(int(s) for s in sizes)

    def set_axes(self, mend: Squeezed) -> None:
        if self.groups.walk.opset >= 13:
            self.integers[mend.node, 1] = np.array(mend.axes, np.int64)
        else:
            self.attributes[mend.node, "axes"] = mend.axes

    def renumber(self, mend: Renumber) -> None:
        if not self.changes(mend.atoms):
            return
        before = self.read(mend.node, mend.slot)
        stays = self.keep[mend.atoms]
        before = before % len(stays)
        self.integers[mend.node, mend.slot] = (np.cumsum(stays) - 1)[before[stays[before]]]


def without(model: Model, groups: ChannelGroups, cuts: tuple[Cut, ...]) -> Model:
    """A copy of `model` without these channels, cuts of its `groups`; the remaining weights are unchanged."""
    twin = model.twin()
    apply(twin.model, twin.of(Removal.of(groups, cuts)))
    return twin.model


def apply(model: Model, removal: Removal) -> None:
    """Carry out the removal, and sweep nodes and constants that are no longer read."""
    for (node, name), value in removal.attributes.items():
        edit.set_attr(model, node, name, value)
    for slots in _alike(removal.integers, lambda values: values.tobytes()):
        _set_integers(model, slots, removal.integers[slots[0]])
    for slots in _alike(
        removal.weights, lambda axes: tuple((axis, kept.tobytes()) for axis, kept in sorted(axes.items()))
    ):
        _shrink(model, slots, removal.weights[slots[0]])
    for tensor, axes in removal.tensors.items():
        _declare(model, tensor, axes)
    edit.sweep(model)


def _alike(edits: Mapping[Slot, Edit], text: Callable[[Edit], Hashable]) -> list[list[Slot]]:
    """The readers, grouped by the constant they read and the edit they get."""
    found: dict[object, list[Slot]] = {}
    for (node, slot), edit_ in edits.items():
        constant = constant_of(node.inputs[slot]) if slot < len(node.inputs) else None
        key = (id(node), slot) if constant is None else (id(constant), text(edit_))
        found.setdefault(key, []).append((node, slot))
    return list(found.values())


def _set_integers(model: Model, slots: list[Slot], values: np.ndarray) -> None:
    """Make readers read these integers: a constant or, if some are UNKNOWN, a Where over the computed ones."""
    node, slot = slots[0]
    present = node.inputs[slot] if slot < len(node.inputs) else None
    constant = None if present is None else constant_of(present)
    base = node.layer_name()
    known = values != UNKNOWN
    if constant is not None:
        _replace(model, slots, values.astype(constant.stored.dtype), constant.origin)
    elif known.all() or present is None:
        edit.set_input(model, node, slot, edit.add_constant(model, base, f"sizes{slot}", values, graph=node.graph))
    else:
        mask = edit.add_constant(model, base, f"known{slot}", known, graph=node.graph)
        literal = edit.add_constant(model, base, f"sizes{slot}", np.where(known, values, 0), graph=node.graph)
        laid = edit.add_node(model, "Where", [mask, literal, present], base=base, suffix=f"shape{slot}", before=node)
        edit.set_input(model, node, slot, laid.outputs[0])


def _shrink(model: Model, slots: list[Slot], axes: Mapping[int, np.ndarray]) -> None:
    """Reduce a constant to the kept indices, for these readers."""
    node, slot = slots[0]
    constant = constant_of(node.inputs[slot])
    assert constant is not None
    values, origin = constant.values, constant.origin
    for axis, kept in axes.items():
        values = np.take(values, kept, axis)
        origin = origin.keep(axis, kept)
    _replace(model, slots, values, origin)


def _replace(model: Model, slots: list[Slot], values: np.ndarray, origin: Origin) -> None:
    """Replace a constant's values for these readers; they still share it, at least within each body."""
    node, slot = slots[0]
    direct = node.inputs[slot]
    if isinstance(direct, Constant) and set(edit.uses(model, direct)) == set(slots):
        edit.set_origin(model, edit.set_weight(model, node, slot, values, tied=True), origin)
        return
    made: dict[int, Constant] = {}
    for reader, at in slots:
        scope = id(reader.graph)
        if scope not in made:
            made[scope] = edit.set_weight(model, reader, at, values)
            edit.set_origin(model, made[scope], origin)
        else:
            edit.set_input(model, reader, at, made[scope])


def _declare(model: Model, tensor: Variable, axes: Mapping[int, np.ndarray]) -> None:
    """Update the declared shape and the origin of a value that lost channels."""
    if tensor.shape is not None:
        edit.set_shape(model, tensor, [len(axes[i]) if i in axes else size for i, size in enumerate(tensor.shape)])
    origin: Origin = tensor.origin
    for axis, kept in axes.items():
        origin = origin.keep(axis, kept)
    edit.set_origin(model, tensor, origin)
