"""The loss of each group at each width, measured at the outputs with the layers that read it refitted."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.walk import Place
from onnx_compress.compiler.budget.losses import CHECKED, FITTED, Edit, Probe, measure, parted
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model, Twin
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.moments import gram_bytes, parts
from onnx_compress.passes.prune._criteria.obs import Ordering
from onnx_compress.passes.prune._criteria.systems import ReaderSystem, layers_of, measured, rows_of

MOST_WIDTHS = 9
"""Maximum number of widths of a group that are measured."""


@dataclass(frozen=True, eq=False)
class Wish:
    """What to measure: for each group the numbers of sets `kept`, in falling order.

    The sets of a group with the lowest `scores` are removed first; with `by` those that this ordering removes first
    for the layers that read them, if these can be solved for. The loss is measured on `checked` samples, at most
    `CHECKED`, and at no more than `widths` numbers of each group.
    """

    kept: Sequence[np.ndarray]
    scores: Sequence[np.ndarray]
    by: Ordering | None
    checked: int = CHECKED
    widths: int = MOST_WIDTHS

    @property
    def key(self) -> Hashable:
        """Distinguishes it from other wishes."""
        digest = sha256()
        for array in (*self.kept, *self.scores):
            digest.update(np.ascontiguousarray(array).tobytes())
        ordering = self.by.__name__ if self.by is not None else ""
        return ordering, self.checked, self.widths, tuple(map(len, self.kept)), digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Table:
    """One group: the `order` of removal of its sets, the cheapest first; the `losses` with `kept` [widths] sets."""

    order: np.ndarray
    kept: np.ndarray
    losses: np.ndarray


def tables(model: Model, groups: ChannelGroups, wish: Wish, ctx: Context) -> list[Table]:
    """A table for each prunable group.

    A search tries its strengths on models that differ in other parts: there the tables of the first one serve for all.
    """
    if ctx.finish is None:
        return ctx.remember(("tables", wish.key), lambda: _tables(model, groups, wish, ctx))
    known: dict[Hashable, Table] = ctx.memory.result(ctx.original, ("tables", ctx.data.key, wish.by), dict)
    keys = [(group.label, tuple(kept.tolist())) for group, kept in zip(groups.prunable, wish.kept, strict=True)]
    if not all(key in known for key in keys):
        known.update(zip(keys, _tables(model, groups, wish, ctx), strict=True))
    return [known[key] for key in keys]


def _tables(model: Model, groups: ChannelGroups, wish: Wish, ctx: Context) -> list[Table]:
    rest, held_out = parted(ctx.data, ctx.seed)
    data = rest.take(FITTED, ctx.seed)
    layers, sample = layers_of(model, groups, data)
    probe = Probe.of(model, held_out.take(wish.checked, ctx.seed), sample)
    memory = parts([gram_bytes(_read(group, layers)) for group in groups.prunable])
    runs = -(-len(data) // data.layout.run_size(probe.batch)) * len(memory)
    found: list[Table] = []
    with ctx.progress("losses", runs + sum(len(measured_at(kept, wish.widths)) - 1 for kept in wish.kept)) as advance:
        for part in memory:
            read = list(dict.fromkeys(layer for i in part for layer in _read(groups.prunable[i], layers)))
            readers = measured(model, read, data, probe.batch, ctx.rng, advance)
            trials = [_trial(i, groups, readers, wish) for i in part]
            for trial, losses in zip(trials, measure(probe, trials, advance)):
                found.append(Table(trial.order, trial.kept, losses))
    return found


def _trial(i: int, groups: ChannelGroups, readers: Mapping[Node, ReaderSystem], wish: Wish) -> _Trial:
    return _Trial(groups, groups.prunable[i], readers, wish.scores[i], wish.by, wish.kept[i], wish.widths)


def measured_at(kept: np.ndarray, widths: int) -> np.ndarray:
    """The widths of a group that are measured: all of a few; of many the ends and some between, most of them wide."""
    if len(kept) <= widths:
        return np.arange(len(kept))
    return np.unique(np.rint((len(kept) - 1) * np.linspace(0, 1, widths) ** 1.5).astype(np.int64))


def _read(group: Group, layers: Mapping[Node, LinearLayer]) -> list[LinearLayer]:
    return [layers[node] for node in group.consumers if node in layers]


@dataclass(frozen=True, eq=False)
class _Trial:
    """One group pruned alone, to each of some widths: see `Wish`."""

    groups: ChannelGroups
    group: Group
    readers: Mapping[Node, ReaderSystem]
    scores: np.ndarray
    by: Ordering | None
    kept: np.ndarray
    widths: int

    @cached_property
    def order(self) -> np.ndarray:
        """The order of removal: by low score, or by `by` for the layers that read them."""
        if self.by is None or not self.systems:
            return np.argsort(self.scores, kind="stable")
        return self.by([reader.system(rows) for reader, rows in self.systems], self.group.size)

    @cached_property
    def systems(self) -> list[tuple[ReaderSystem, np.ndarray]]:
        """The layers that are solved for, with the rows of each set."""
        mine = [self.readers[node] for node in self.group.consumers if node in self.readers]
        pairs = [(reader, rows_of(reader.layer, self.group, self.groups.sets.roots)) for reader in mine]
        return [(reader, rows) for reader, rows in pairs if rows is not None]

    def edits(self) -> Iterator[Edit | None]:
        """The group without the sets that are removed first, at the widths that are measured."""
        for count in self.kept[measured_at(self.kept, self.widths)]:
            gone = self.order[: self.group.size - int(count)]
            is_open = len(gone) > 0 and len(self.kept) > 1
            yield self.without(gone) if is_open else None

    def losses(self, measured: list[float]) -> np.ndarray:
        """The measured losses, and linear interpolation at the widths between."""
        return np.interp(np.arange(len(self.kept)), measured_at(self.kept, self.widths), measured)

    def without(self, gone: np.ndarray) -> Edit:
        """Let nothing read these sets any more, which is equivalent to removing them."""

        def clear(twin: Twin) -> None:
            for reader, rows in self.systems:
                weights = reader.system(rows).without(gone)
                twin.of(reader.layer).store(twin.model, weights[None], reader.shift(weights))
            for place in self._cleared():
                is_gone = np.isin(self.groups.sets.roots[place.atoms], self.group.roots[gone])
                _clear(twin.model, place, twin.of(place.node), is_gone)

        return clear

    def _cleared(self) -> list[Place]:
        """Where the channels are set to zero: in the layers that read them, if any, or in those that compute them."""
        solved = {reader.layer.node for reader, _ in self.systems}
        reading = [place for place, _ in self.group.places if place.role == "in" and place.node not in solved]
        writing = [place for place, _ in self.group.places if place.role in ("out", "shift")]
        return reading if reading or solved else writing


def _clear(model: Model, place: Place, node: Node, is_gone: np.ndarray) -> None:
    values = input_value(node, place.slot)
    if values is None or values.dtype.kind not in "fV":
        return
    values = np.moveaxis(values.copy(), place.axis, 0)
    values[is_gone] = 0
    edit.set_weight(model, node, place.slot, np.moveaxis(values, 0, place.axis))
