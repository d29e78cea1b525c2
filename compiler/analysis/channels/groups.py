"""Channel groups: the channels that can be removed from a model, and everything that is removed with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from onnx_compress.compiler.analysis.channels.atoms import Sets, connected
from onnx_compress.compiler.analysis.channels.rules import RULES
from onnx_compress.compiler.analysis.channels.walk import Place, Walk
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.runtime.shapes.inference import Shapes, infer

ENOUGH = 4
"""Number of sets from which on a cut is fine enough; the choice between such cuts depends only on their reach."""


@dataclass(frozen=True, eq=False)
class Group:
    """Equivalent channels: each of the sets `roots` has equally many indices at the same places.

    `places` pairs each axis of a constant with the number of its indices in one set. `why_fixed`: why none of the
    sets can be removed (None: each can be, by itself). `why_coupled`: what is computed across them, so that removing
    even zeros changes the rest (LayerNormalization); None otherwise.
    """

    roots: np.ndarray
    places: tuple[tuple[Place, int], ...]
    why_fixed: str | None
    why_coupled: str | None

    @property
    def size(self) -> int:
        """Number of sets."""
        return len(self.roots)

    @property
    def is_prunable(self) -> bool:
        """Whether some sets can be removed while others stay."""
        return self.why_fixed is None and self.size > 1

    @cached_property
    def producers(self) -> tuple[Node, ...]:
        """The layers that compute these channels."""
        return tuple(dict.fromkeys(place.node for place, _ in self.places if place.role == "out"))

    @cached_property
    def consumers(self) -> tuple[Node, ...]:
        """The layers that sum over these channels."""
        return tuple(dict.fromkeys(place.node for place, _ in self.places if place.role == "in"))

    @cached_property
    def multiplicity(self) -> int:
        """Number of channels of a layer in one set: the minimum over the products it takes part in."""
        products = [count for place, count in self.places if place.role in ("out", "in")]
        return min(products, default=1)

    @cached_property
    def elements(self) -> int:
        """Number of constants' elements in the whole group, counted once per reader."""
        return sum(count * self.size * _slice_size(place) for place, count in self.places)

    @property
    def label(self) -> str:
        """The group in messages: the label of its first producer."""
        nodes = self.producers or tuple(place.node for place, _ in self.places)
        return nodes[0].label() if nodes else "?"


@dataclass(frozen=True, eq=False)
class ChannelGroups:
    """All groups of a model, valid until it changes.

    `cuts` maps a node that splits an axis to the chosen factor.
    """

    walk: Walk
    sets: Sets
    groups: tuple[Group, ...]
    cuts: Mapping[Node, int]

    @classmethod
    def of(cls, model: Model) -> Self:
        """The groups of `model`, with the cut of each split axis that reaches the most weights."""
        shapes = infer(model)
        first = cls._walked(model, shapes, 0, {})
        ways = max((sum(s > 1 for s in c.sizes) for c in first.walk.crossings), default=1)
        if ways == 1:
            return first
        others = [cls._walked(model, shapes, cut, {}) for cut in range(1, ways)]
        cuts = _best_cuts([first, *others])
        return cls._walked(model, shapes, 0, cuts) if any(cuts.values()) else first

    @classmethod
    def with_cuts(cls, model: Model, cuts: Mapping[Node, int]) -> Self:
        """The groups with split axes cut along the given factors, elsewhere along the outermost."""
        return cls._walked(model, infer(model), 0, cuts)

    @classmethod
    def _walked(cls, model: Model, shapes: Shapes, cut: int, cuts: Mapping[Node, int]) -> Self:
        walk = Walk(shapes, model.opset, cut, cuts)
        walk.run(model, RULES)
        sets = walk.atoms.settle()
        return cls(walk, sets, _sorted_groups(walk, sets), cuts)

    @property
    def prunable(self) -> tuple[Group, ...]:
        """The prunable groups."""
        return tuple(group for group in self.groups if group.is_prunable)


def _sorted_groups(walk: Walk, sets: Sets) -> tuple[Group, ...]:
    """The sets grouped by equal signatures, in the order of the walk."""
    if not walk.places:
        return ()
    roots, places, counts = _incidence([sets.roots[place.atoms] for place in walk.places])
    signature = np.zeros(len(sets.roots), np.uint64)
    np.add.at(signature, roots, _mixed(places, counts))
    work = [sets.roots[axis] for item in walk.works for axis in item.tracked]
    work_roots, axes, work_counts = _incidence(work)
    np.add.at(signature, work_roots, _mixed(axes + len(walk.places), work_counts))
    members = np.unique(roots)
    keys = np.stack([signature[members], sets.fixed[members].astype(np.uint64)])
    _, group_of = np.unique(keys, axis=1, return_inverse=True)
    starts = np.searchsorted(roots, members)
    found: dict[int, list[int]] = {}
    for member, key in enumerate(group_of.ravel()):
        found.setdefault(int(key), []).append(member)
    ends = np.append(starts[1:], len(roots))
    groups = []
    for indices in found.values():
        lead = indices[0]
        span = slice(starts[lead], ends[lead])
        touched = tuple((walk.places[p], int(c)) for p, c in zip(places[span], counts[span]))
        root = int(members[lead])
        groups.append(Group(members[indices], touched, sets.why_fixed(root), sets.why_coupled(root)))
    return tuple(groups)


def _incidence(vectors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(root, index of the vector, count) of every pair that occurs, sorted by root."""
    if not vectors:
        return (np.zeros(0, np.int64),) * 3
    owner = np.repeat(np.arange(len(vectors)), [len(v) for v in vectors])
    pairs = np.concatenate(vectors) * len(vectors) + owner
    unique, counts = np.unique(pairs, return_counts=True)
    return unique // len(vectors), unique % len(vectors), counts


def _mixed(index: np.ndarray, count: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each pair (splitmix64's finalizer); a sum of hashes identifies a set of pairs."""
    x = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + count.astype(np.uint64) * np.uint64(
        0xD1B54A32D192ED03
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def _best_cuts(walked: Sequence[ChannelGroups]) -> dict[Node, int]:
    """For each node that splits an axis, the walk whose groups connected to it reach the most weights."""
    nodes = list(dict.fromkeys(c.node for groups in walked for c in groups.walk.crossings))
    index = {node: i for i, node in enumerate(nodes)}
    edges: list[tuple[np.ndarray, np.ndarray]] = []
    offsets: list[int] = []
    count = len(nodes)
    for groups in walked:
        offsets.append(count)
        for crossing in groups.walk.crossings:
            roots = np.unique(groups.sets.roots[crossing.atoms])
            edges.append((np.full(len(roots), index[crossing.node]), roots + count))
        count += len(groups.sets.roots)
    left, right = (np.concatenate(side) for side in zip(*edges))
    parts = connected(count, left, right)
    values = np.stack([_reach(groups, parts[offset:], len(nodes)) for groups, offset in zip(walked, offsets)])
    best = values.argmax(0)
    return {node: int(best[parts[i]]) for node, i in index.items()}


def _reach(groups: ChannelGroups, parts: np.ndarray, nodes: int) -> np.ndarray:
    """Number of removable weights per connected part; reduced for few sets, and halved if numerics change."""
    reach = np.zeros(nodes)
    for group in groups.prunable:
        part = parts[group.roots[0]]
        if part >= nodes:
            continue
        share = min(1.0, (group.size - 1) / (ENOUGH - 1))
        reach[part] += group.elements * share * (0.5 if group.why_coupled else 1.0)
    return reach


def _slice_size(place: Place) -> int:
    constant = constant_of(place.node.inputs[place.slot])
    assert constant is not None
    return int(np.prod([size for i, size in enumerate(constant.stored.shape) if i != place.axis]))
