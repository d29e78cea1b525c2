"""The latency of a model as a function of the widths of its channel groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnx_compress.compiler.analysis.channels.groups import ChannelGroups
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.runtime.timing.latency import MARGIN

PRIMES = (3, 5, 7)
"""Possible numbers of timed widths per group; the number of model variants that run is the square."""
Times = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class TimedLayer:
    """One node of the main graph, the groups it touches, and channels per set of its inputs and outputs [groups + 1].

    `inputs @ [kept, 1]` is the number of channels that it reads, `outputs @ [kept, 1]` the number that it writes.
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
    """Model variants, as sets kept [forms, groups], that cover all pairs of widths of any two groups of a layer.

    Group i takes its levels from `candidates[i]`, the widest first. With p levels, a prime, variant (r, s) has level
    r + c·s (mod p) for a group of colour c, or s for c = p: groups of different colours see every pair of levels in
    p² variants (an orthogonal array, Bose and Bush 1952). p² is at most `most`, unless even the smallest p exceeds it.
    The first variant is the widest.
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
    """A colour for each group that differs from the colours of groups with a common layer, as far as colours suffice.

    Only layers of two groups count, because only they need all pairs of widths.
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
    """Milliseconds of a model by the widths of its prunable groups, from its layers' times in some variants.

    A layer of one or two groups has a table over their widths: a width costs as much as the next multiple of `units`
    (kernels work in blocks); between timed widths the time is interpolated linearly; no width costs more than a wider
    one; and a saving below `MARGIN` counts as none. A layer with more groups, or without all pairs of widths, costs
    a + b·in + c·out + d·in·out for the channels that it reads and writes, with non-negative coefficients fitted to the
    timings. The remainder, `rest`, is the same for all widths.
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
        """Scale so that `ms(kept)` equals `total_ms`: layers were timed at other moments than the whole model."""
        self.scale *= total_ms / self.ms(kept)

    def ms(self, kept: np.ndarray) -> float:
        """Milliseconds if group i keeps kept[i] of its sets."""
        return self.scale * (float(self._by_layer(kept).sum()) + self.rest)

    def by_layer(self, kept: np.ndarray) -> dict[str, float]:
        """The milliseconds of each layer whose time depends on widths."""
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
        """Times over the timed widths of the layer's groups [widths, widths or 1]; None if a pair was not timed."""
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
    """The position of each number of kept sets, 0 to all, on the axis of timed widths."""
    most = int(axis[-1])
    blocks = np.minimum(-(-np.arange(most + 1) // unit) * unit, most)
    return np.interp(blocks, axis, np.arange(len(axis)))


def _staircase(times: np.ndarray) -> np.ndarray:
    """Times [widths, widths] with noise removed: a narrower width counts as faster only from `MARGIN` on."""
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
    """The coefficients [4] by least squares, with terms dropped whose coefficients would be negative."""
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
    """For each prunable group, the milliseconds of the layers that compute or read its channels."""
    times = cost.by_layer(kept)
    layers = [dict.fromkeys((*group.producers, *group.consumers)) for group in groups.prunable]
    return [sum(times.get(node.layer_name(), 0.0) for node in nodes) for nodes in layers]
