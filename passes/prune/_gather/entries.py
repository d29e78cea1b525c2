"""Layers at the start of a residual branch: each may read only some channels of the shortcut, by a Gather in front.

A shortcut loses only the channels that nobody needs. The first layer of a branch needs fewer, and others than its
neighbours: He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017
(arXiv:1707.06168), section 3.3, insert a filter that picks its channels.

A second copy of the computation of the channels, for this layer alone, is never better than the Gather, which moves
each number once: behind a convolution the copy takes C·k² products per number, and behind an addition it needs a part
of both terms in turn. Nor is a 1×1 convolution that picks the channels: it takes C products per number and is mostly
slower than the Gather, although it stays in onnxruntime's blocked layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.walk import Place
from onnx_compress.compiler.analysis.channels.width_cost import WidthCost
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.shapes.sizes import SizeTable, UnknownSize
from onnx_compress.compiler.surgery.channel_removal import Removal
from onnx_compress.passes.prune._gather.inputs import read_only
from onnx_compress.passes.prune._gather.speed import TYPES, Shape, paying
from onnx_compress.passes.prune._widths.widths import Widths

TRIED = 8
"""Maximum number of widths of one layer that are timed and whose loss is measured."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A convolution that may read only some of its input's channels; `shape` is all that its time depends on.

    The sets of `group` are these channels, with this layer as their only place: set i is channel `channels[i]`.
    `results` are the atoms of the channels that it computes, None if their number is fixed.
    """

    node: Node
    group: Group
    channels: np.ndarray
    results: np.ndarray | None
    shape: Shape


@dataclass(frozen=True)
class Gather:
    """The channels `kept` of its former input that a layer reads, at `positions` among the `of` remaining ones."""

    node: Node
    kept: np.ndarray
    positions: np.ndarray
    of: int


@dataclass(frozen=True, eq=False)
class Entries:
    """The layers `found`, besides the groups of `cost`; vectors `kept` list the groups' sets first, then theirs."""

    cost: WidthCost
    ctx: Context
    found: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, model: Model, cost: WidthCost, ctx: Context, shapes: Mapping[str, Sequence[int]]) -> Entries:
        """All possible entries; `shapes` are the input shapes for one sample."""
        groups = ctx.get(ChannelGroups)
        sizes = SizeTable(model, shapes)
        found = (_entry(place, groups, sizes, ctx) for place in groups.walk.places if place.role == "in")
        return cls(cost, ctx, tuple(entry for entry in found if entry is not None))

    def among(self, groups: ChannelGroups) -> ChannelGroups:
        """The prunable groups, followed by one group for each entry."""
        return replace(groups, groups=(*groups.prunable, *(entry.group for entry in self.found)))

    def candidates(self, step: int) -> list[np.ndarray]:
        """For each entry the possible numbers of channels, in falling order: those for which a Gather pays."""
        sizes = np.array([entry.group.size for entry in self.found], np.int64)
        ones = np.ones_like(sizes)
        every = Widths(sizes, ones, -ones, []).candidates(step)
        return [self._paying(entry, counts) for entry, counts in zip(self.found, every)]

    def _paying(self, entry: Entry, counts: np.ndarray) -> np.ndarray:
        tried = counts[1 :: -(-len(counts) // TRIED)]
        found, best = paying(entry.shape, tried.tolist(), self.ctx.judge)
        if len(tried) and not found:
            why = "saves too little" if best < 1 else "costs more than it saves"
            self.ctx.skip(entry.node, f"a Gather in front {why}: {best:.2f}× the time")
        return np.array([counts[0], *found], np.int64)

    def refused(self, kept: np.ndarray) -> dict[int, int]:
        """The parts i whose kept[i] channels no longer justify a Gather when all widths are as in `kept`."""
        first = len(self.cost.groups)
        sets = np.append(kept[:first], 1)
        found = {}
        for i, entry in enumerate(self.found, first):
            alive, results = (int(row @ sets) for row in (self._rows[i - first], self._results[i - first]))
            count = int(kept[i])
            if count < alive and not paying(entry.shape.narrowed(alive, results), [count], self.ctx.judge)[0]:
                found[i] = count
        return found

    def macs(self, kept: np.ndarray) -> int:
        """Multiply-accumulates of the model; if `kept` has no values for the entries, none is narrowed."""
        count = len(self.cost.groups)
        products = self.cost.products(kept[:count])
        if len(kept) == count:
            return int(products.sum())
        alive = self._rows @ np.append(kept[:count], 1)
        products[self._works] *= np.minimum(kept[count:], alive) / alive
        return int(np.rint(products.sum()))

    @cached_property
    def _rows(self) -> np.ndarray:
        """For each entry the channels of its input by set of each group."""
        rows = [self.cost.row(entry.group.places[0][0].atoms) for entry in self.found]
        return np.array(rows, np.int64).reshape(len(rows), len(self.cost.groups) + 1)

    @cached_property
    def _results(self) -> np.ndarray:
        """The same for the channels that it computes."""
        fixed = np.zeros(len(self.cost.groups), np.int64)
        rows = [
            np.append(fixed, entry.shape.weight[0]) if entry.results is None else self.cost.row(entry.results)
            for entry in self.found
        ]
        return np.array(rows, np.int64).reshape(len(rows), len(self.cost.groups) + 1)

    @cached_property
    def _works(self) -> np.ndarray:
        return np.array([self.cost.nodes.index(entry.node) for entry in self.found], np.int64)

    def gathers(self, removal: Removal, orders: Sequence[np.ndarray], kept: np.ndarray) -> tuple[Gather, ...]:
        """What each entry reads when `kept` sets of the groups and of its channels are kept."""
        count = len(self.cost.groups)
        chosen = (_gather(*choice, removal) for choice in zip(self.found, orders[count:], kept[count:]))
        gathers = tuple(one for one in chosen if one is not None)
        if self.found:
            rows = [{"layer": g.node.label(), "reads": len(g.kept), "of": g.of} for g in gathers]
            self.ctx.notes["gathers"] = rows
        return gathers


def _entry(place: Place, groups: ChannelGroups, sizes: SizeTable, ctx: Context) -> Entry | None:
    """The layer of this place, if it is a convolution with channels that others need too."""
    node, roots = place.node, groups.sets.roots[place.atoms]
    if not node.is_op("Conv") or node.graph is not ctx.model.graph or ctx.is_excluded(node):
        return None
    if node.attrs.get("group", 1) != 1 or len(np.unique(roots)) < len(roots) or not _is_shared(place, groups):
        return None
    weight = input_constant(node, 1)
    if weight is None or weight.stored.dtype.name not in TYPES or edit.uses(ctx.model, node.inputs[1]) != [(node, 1)]:
        return None
    try:
        shape = Shape.of(node, weight, sizes(node.inputs[0]))
    except UnknownSize:
        ctx.skip(node, "the size of its input is unknown, so no Gather in front of it can be timed")
        return None
    order = np.argsort(roots)
    group = Group(roots[order], ((place, 1),), None, None)
    results = next((p.atoms for p in groups.walk.places if p.node is node and p.role == "out"), None)
    return Entry(node, group, order, results, shape)


def _is_shared(place: Place, groups: ChannelGroups) -> bool:
    """Whether removing the channels would narrow more than the path to this layer alone."""
    mine = groups.sets.roots[place.atoms]
    readers = {
        node
        for group in groups.groups
        if np.isin(group.roots, mine).any()
        for node in (group.consumers if group.why_fixed is None else (None, *group.consumers))
    }
    return len(readers) > 1


def _gather(entry: Entry, order: np.ndarray, count: int, removal: Removal) -> Gather | None:
    source = entry.node.inputs[0]
    cut = removal.tensors.get(source, {}) if isinstance(source, Variable) else {}
    alive = cut.get(1, np.arange(entry.group.size))
    if count >= len(alive):
        return None
    ranked = entry.channels[order]
    kept = np.sort(ranked[np.isin(ranked, alive)][-int(count) :])
    return Gather(entry.node, kept, np.searchsorted(alive, kept), len(alive))


def with_gathers(removal: Removal, gathers: Sequence[Gather]) -> Removal:
    """The removal, with the weights of these layers narrowed to the gathered channels as well."""
    weights = dict(removal.weights)
    for one in gathers:
        weights[one.node, 1] = {**weights.get((one.node, 1), {}), 1: one.kept}
    return replace(removal, weights=weights)


def insert(model: Model, gathers: Sequence[Gather]) -> None:
    """Insert each Gather in front of its layer, whose weights are already narrow."""
    for one in gathers:
        read_only(model, one.node.inputs[0], 1, one.positions, [(one.node, 0)])
