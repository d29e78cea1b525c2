"""How long a model takes as a function of how many channels each group keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnx_compress.compiler.analysis.channels.groups import ChannelGroups
from onnx_compress.compiler.ir.graph import Node

PRIMES = (3, 5, 7)
"""Widths of each group that may be timed: so many squared are the forms of the model that run."""
MARGIN = 0.05
"""A width must save so much of a layer's time for that to count: timings are not better than that."""
Times = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class TimedLayer:
    """One node of the main graph: the groups that it touches, and by [groups + 1] what its inputs and results hold.

    `inputs @ [kept, 1]` are the channels that it reads, `outputs` likewise those that it writes.
    """

    name: str
    groups: tuple[int, ...]
    inputs: np.ndarray
    outputs: np.ndarray


def layers_of(groups: ChannelGroups) -> list[TimedLayer]:
    """The layers of a model's main graph whose axes or weights belong to prunable groups."""
    group_of = np.full(len(groups.sets.roots), -1)
    for i, group in enumerate(groups.prunable):
        group_of[group.roots] = i
    sizes = np.array([group.size for group in groups.prunable], np.int64).reshape(-1)
    weights: dict[Node, set[int]] = {}
    for place in groups.walk.places:
        weights.setdefault(place.node, set()).update(np.unique(group_of[groups.sets.roots[place.atoms]]).tolist())

    def channels(node: Node, way: str) -> np.ndarray:
        counts = np.zeros(len(sizes) + 1)
        for tensor in getattr(node, way):
            for axis in groups.walk.axes.get(tensor, ()):
                if isinstance(axis, np.ndarray):
                    found = np.bincount(group_of[groups.sets.roots[axis]] + 1, minlength=len(sizes) + 1)
                    counts += np.append(found[1:] / sizes, found[0])
        return counts

    nodes = dict.fromkeys([*weights, *(out.inputs[0] for out in groups.walk.axes if out.inputs)])
    found = []
    for node in nodes:
        inputs, outputs = channels(node, "inputs"), channels(node, "outputs")
        touched = {*np.flatnonzero(inputs[:-1] + outputs[:-1]).tolist(), *weights.get(node, ())} - {-1}
        if touched and node.graph is not None and node.graph.parent is None:
            found.append(TimedLayer(node.layer_name(), tuple(sorted(touched)), inputs, outputs))
    return found


def forms(layers: Sequence[TimedLayer], candidates: Sequence[np.ndarray], most: float = np.inf) -> np.ndarray:
    """Sets kept of each group [forms, groups] in forms of the model in which any two groups of one layer meet in full.

    Group i has levels among `candidates[i]`, the widest first. With p levels, a prime, form (r, s) has level
    r + c·s (mod p) of a group of colour c, or s where c = p: groups of different colours see every pair of levels in
    p² forms (an orthogonal array, Bose and Bush 1952), at most `most` where that is no less than the fewest. The first
    form is the widest.
    """
    longest = max((len(kept) for kept in candidates), default=1)
    affordable = [prime for prime in PRIMES if prime**2 <= most] or [PRIMES[0]]
    p = next((prime for prime in affordable if prime >= longest), affordable[-1])
    r, s = (index.ravel() for index in np.meshgrid(np.arange(p), np.arange(p), indexing="ij"))
    columns = []
    for kept, colour in zip(candidates, _colours(layers, len(candidates), p + 1)):
        level = s if colour == p else (r + colour * s) % p
        columns.append(np.asarray(kept)[np.round(level * (len(kept) - 1) / (p - 1)).astype(np.int64)])
    return np.unique(np.stack(columns, 1), axis=0)[::-1] if columns else np.zeros((1, 0), np.int64)


def _colours(layers: Sequence[TimedLayer], count: int, most: int) -> list[int]:
    """A colour for each group that differs from those of the groups it shares a layer with, as far as there are enough.

    Layers of two groups count, which must meet in full; larger ones do not ask for it.
    """
    near: list[set[int]] = [set() for _ in range(count)]
    for layer in layers:
        if len(layer.groups) == 2:
            one, other = layer.groups
            near[one].add(other)
            near[other].add(one)
    colours: list[int] = []
    for i in range(count):
        taken = {colours[j] for j in near[i] if j < i}
        colours.append(next((c for c in range(most) if c not in taken), i % most))
    return colours


class LatencyCost:
    """Milliseconds of a model by the widths of its prunable groups, from the times of its layers in some forms.

    A layer of one group or two has a table over their widths: up to the next multiple of `units` a width costs
    what that costs (kernels work in blocks), between the widths that were timed the time goes straight, none
    costs more than a wider one, and what saves less than `MARGIN` saves nothing. A layer of more groups, of which
    not all pairs were seen, costs a + b·in + c·out + d·in·out by the channels that it reads and writes, fitted to
    what was seen, none of it negative. The rest, `rest`, is the same for all widths.
    """

    def __init__(
        self, layers: Sequence[TimedLayer], units: np.ndarray, seen: np.ndarray, times: Sequence[Times]
    ) -> None:
        self._axes = [np.unique(kept) for kept in seen.T]
        self._places = [_places(axis, int(unit)) for axis, unit in zip(self._axes, units)]
        self._starts = np.append(0, np.cumsum([len(place) for place in self._places])).astype(np.int64)
        self._flat = np.concatenate([*self._places, [0.0]])
        measured = {layer.name: np.array([t.get(layer.name, 0.0) for t in times]) for layer in layers}
        tables = {layer.name: self._table(layer, seen, measured[layer.name]) for layer in layers}
        self._tabled = [layer for layer in layers if tables[layer.name] is not None]
        self._fitted = [layer for layer in layers if tables[layer.name] is None]
        most = max((len(axis) for axis in self._axes), default=1)
        padded = [_padded(table, most + 1) for table in tables.values() if table is not None]
        self._tables = np.array(padded).reshape(len(padded), most + 1, most + 1)
        pairs = [(*layer.groups, len(self._axes))[:2] for layer in self._tabled]
        self._first, self._second = np.array(pairs, np.int64).reshape(-1, 2).T
        self._fits = np.array([_fit(layer, seen, measured[layer.name]) for layer in self._fitted]).reshape(-1, 4)
        self._reads = np.array([layer.inputs for layer in self._fitted]).reshape(-1, len(self._axes) + 1)
        self._writes = np.array([layer.outputs for layer in self._fitted]).reshape(-1, len(self._axes) + 1)
        self.names = [layer.name for layer in (*self._tabled, *self._fitted)]
        self.rest = float(np.mean([sum(t.values()) for t in times]) - sum(m.mean() for m in measured.values()))
        self.scale = 1.0

    def calibrate(self, kept: np.ndarray, total_ms: float) -> None:
        """Let `ms(kept)` be `total_ms`: times of layers come from other moments than that of the whole, and scale."""
        self.scale *= total_ms / self.ms(kept)

    def ms(self, kept: np.ndarray) -> float:
        """Milliseconds when group i keeps kept[i] of its sets."""
        return self.scale * (float(self._by_layer(kept).sum()) + self.rest)

    def by_layer(self, kept: np.ndarray) -> dict[str, float]:
        """The milliseconds of each layer whose time hangs on widths."""
        return {name: self.scale * float(ms) for name, ms in zip(self.names, self._by_layer(kept))}

    def _by_layer(self, kept: np.ndarray) -> np.ndarray:
        place = self._flat[self._starts + np.append(kept, 0)]
        low = place.astype(np.int64)
        part = place - low
        i, j, row = low[self._first], low[self._second], self._rows
        u, v = part[self._first], part[self._second]
        near = (1 - v) * self._tables[row, i, j] + v * self._tables[row, i, j + 1]
        far = (1 - v) * self._tables[row, i + 1, j] + v * self._tables[row, i + 1, j + 1]
        tabled: np.ndarray = (1 - u) * near + u * far
        if not self._fitted:
            return tabled
        whole = np.append(kept, 1)
        features = _features(self._reads @ whole, self._writes @ whole)
        return np.append(tabled, (self._fits * features).sum(1))

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.arange(len(self._tables))

    def _table(self, layer: TimedLayer, seen: np.ndarray, times: np.ndarray) -> np.ndarray | None:
        """Times over the widths seen of the layer's groups [widths, widths or 1], None where not all pairs were."""
        if len(layer.groups) > 2:
            return None
        shape = [len(self._axes[g]) for g in layer.groups] + [1] * (2 - len(layer.groups))
        at = [np.searchsorted(self._axes[g], seen[:, g]) for g in layer.groups]
        cells = np.ravel_multi_index([*at, *[np.zeros(len(seen), np.int64)] * (2 - len(at))], shape)
        if len(np.unique(cells)) < shape[0] * shape[1]:
            return None
        found = np.array([np.median(times[cells == cell]) for cell in range(shape[0] * shape[1])]).reshape(shape)
        return _staircase(found)


def _places(axis: np.ndarray, unit: int) -> np.ndarray:
    """For each number of sets kept, 0 to all, where it stands on the axis of widths that were timed."""
    most = int(axis[-1])
    blocks = np.minimum(-(-np.arange(most + 1) // unit) * unit, most)
    return np.interp(blocks, axis, np.arange(len(axis)))


def _staircase(times: np.ndarray) -> np.ndarray:
    """Times [widths, widths] without what may be noise: a narrower width counts as faster from `MARGIN` on."""
    for axis in (0, 1):
        rows = np.moveaxis(times.copy(), axis, 0)
        for narrow in range(len(rows) - 2, -1, -1):
            wider = rows[narrow + 1]
            rows[narrow] = np.where(rows[narrow] > (1 - MARGIN) * wider, wider, rows[narrow])
        times = np.moveaxis(rows, 0, axis)
    for axis in (0, 1):
        times = np.flip(np.minimum.accumulate(np.flip(times, axis), axis), axis)
    return times


def _padded(table: np.ndarray, size: int) -> np.ndarray:
    padded: np.ndarray = np.pad(table, [(0, size - n) for n in table.shape], mode="edge")
    return padded


def _features(reads: np.ndarray, writes: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(reads), reads, writes, reads * writes], -1)


def _fit(layer: TimedLayer, seen: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The coefficients [4] of least squares, those that would be negative left out."""
    whole = np.column_stack([seen, np.ones(len(seen))])
    features = _features(whole @ layer.inputs, whole @ layer.outputs)
    scale = np.maximum(features.max(0), 1.0)
    used = np.ones(features.shape[1], bool)
    while True:
        found: np.ndarray = np.zeros(features.shape[1])
        found[used] = np.linalg.lstsq(features[:, used] / scale[used], times, rcond=None)[0]
        if (found >= 0).all():
            found /= scale
            return found
        used[int(found.argmin())] = False


def by_group(cost: LatencyCost, groups: ChannelGroups, kept: np.ndarray) -> list[float]:
    """For each prunable group the milliseconds of the layers that make or read its channels."""
    times = cost.by_layer(kept)
    layers = [dict.fromkeys((*group.producers, *group.consumers)) for group in groups.prunable]
    return [sum(times.get(node.layer_name(), 0.0) for node in nodes) for nodes in layers]
