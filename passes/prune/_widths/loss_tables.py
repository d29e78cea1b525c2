"""What each group loses at each width, measured at the outputs with the layers that read it refitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from weakref import WeakKeyDictionary

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.walk import Place
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import to_text
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.pipeline.context import Context, Progress
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.moments import gram_bytes, parts
from onnx_compress.compiler.runtime.data.source import Source
from onnx_compress.compiler.runtime.metrics.divergence import Divergence
from onnx_compress.compiler.runtime.outputs import batch_size
from onnx_compress.compiler.runtime.session import create
from onnx_compress.passes.prune._criteria.obs import Ordering
from onnx_compress.passes.prune._criteria.systems import ReaderSystem, layers_of, measured, rows_of

FITTED, CHECKED = 768, 256
"""Samples at most that statistics are taken of, and others that the effect is measured on."""
MOST_WIDTHS = 9
"""Widths of a group that are measured at most."""
RUN_BYTES = 1 << 27
"""Bytes of activations that one run may give."""


@dataclass(frozen=True, eq=False)
class Wish:
    """What to measure: for each group the numbers of sets `kept`, the most first.

    The sets of a group with the lowest `scores` go first; with `by` those that it gives up first for the layers
    that read them, where these can be solved for. The effect is measured on `checked` samples, at most `CHECKED`, and
    at `widths` numbers of each group, all or some of them.
    """

    kept: Sequence[np.ndarray]
    scores: Sequence[np.ndarray]
    by: Ordering | None
    checked: int = CHECKED
    widths: int = MOST_WIDTHS


_LATEST: WeakKeyDictionary[Source, tuple[str, list[Table]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Table:
    """One group: the `order` in which its sets go, the cheapest first, and the `losses` when `kept` [widths] stay."""

    order: np.ndarray
    kept: np.ndarray
    losses: np.ndarray


def tables(model: Model, groups: ChannelGroups, wish: Wish, ctx: Context) -> list[Table]:
    """A table for each prunable group.

    The latest result for each source of data is kept: a search for the strength asks for the same tables again and
    again.
    """
    key = _key(model, wish, ctx)
    if _LATEST.get(ctx.data.source, ("", []))[0] != key:
        _LATEST[ctx.data.source] = key, _measured(model, groups, wish, ctx)
    return _LATEST[ctx.data.source][1]


def _key(model: Model, wish: Wish, ctx: Context) -> str:
    """What the tables hang on."""
    digest = sha256(
        repr((_name(wish.by), wish.checked, wish.widths, ctx.seed, [len(kept) for kept in wish.kept])).encode()
    )
    for array in (*wish.kept, *wish.scores, ctx.data.indices):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(to_text(model).encode())
    for constant in model.constants():
        digest.update(np.ascontiguousarray(constant.values).tobytes())
    return digest.hexdigest()


def _name(by: Ordering | None) -> str:
    return by.__name__ if by is not None else ""


def _measured(model: Model, groups: ChannelGroups, wish: Wish, ctx: Context) -> list[Table]:
    rest, held = ctx.data.split(CHECKED / (FITTED + CHECKED))
    data, check = rest.take(FITTED), held.take(wish.checked)
    layers, sample = layers_of(model, groups, data)
    batch = min(batch_size(create(model), data), max(1, RUN_BYTES // max(1, sample)))
    effect = Divergence(model, check, batch)
    taken = parts([gram_bytes(_read(group, layers)) for group in groups.prunable])
    runs = -(-len(data) // data.layout.run_size(batch)) * len(taken)
    found: list[Table] = []
    with ctx.progress("losses", runs + sum(len(measured_at(kept, wish.widths)) - 1 for kept in wish.kept)) as advance:
        for part in taken:
            read = list(dict.fromkeys(layer for i in part for layer in _read(groups.prunable[i], layers)))
            readers = measured(model, read, data, batch, ctx.rng, advance)
            for i in part:
                group = groups.prunable[i]
                trial = _Trial(model, groups, group, readers, effect)
                order = trial.order(wish.scores[i], wish.by)
                found.append(Table(order, wish.kept[i], trial.losses(order, wish.kept[i], wish.widths, advance)))
    return found


def measured_at(kept: np.ndarray, widths: int) -> np.ndarray:
    """Which of a group's widths are measured: all of a few, of many the ends and some between, most of them wide."""
    if len(kept) <= widths:
        return np.arange(len(kept))
    return np.unique(np.rint((len(kept) - 1) * np.linspace(0, 1, widths) ** 1.5).astype(np.int64))


def _read(group: Group, layers: Mapping[Node, LinearLayer]) -> list[LinearLayer]:
    return [layers[node] for node in group.consumers if node in layers]


@dataclass(frozen=True, eq=False)
class _Trial:
    """One group pruned by itself."""

    model: Model
    groups: ChannelGroups
    group: Group
    readers: Mapping[Node, ReaderSystem]
    effect: Divergence

    def order(self, scores: np.ndarray, by: Ordering | None) -> np.ndarray:
        """Which sets go first: those of low score, or those that `by` gives up first for the layers that read them."""
        systems = [reader.system(rows) for reader, rows in self.systems] if by is not None else []
        return by(systems, self.group.size) if by is not None and systems else np.argsort(scores, kind="stable")

    @cached_property
    def systems(self) -> list[tuple[ReaderSystem, np.ndarray]]:
        """The layers that are solved for, with the rows of each set."""
        mine = [self.readers[node] for node in self.group.consumers if node in self.readers]
        pairs = [(reader, rows_of(reader.layer, self.group, self.groups.sets.roots)) for reader in mine]
        return [(reader, rows) for reader, rows in pairs if rows is not None]

    def losses(self, order: np.ndarray, kept: np.ndarray, widths: int, advance: Progress) -> np.ndarray:
        """The effect of keeping so many sets; measured at some widths, on the straight line between them at others."""
        at = measured_at(kept, widths)
        found = []
        for count in kept[at]:
            gone = order[: self.group.size - int(count)]
            is_open = len(gone) > 0 and len(kept) > 1
            found.append(self.effect.of(self.without(gone)) if is_open else 0.0)
            if is_open:
                advance()
        return np.interp(np.arange(len(kept)), at, found)

    def without(self, gone: np.ndarray) -> Model:
        """The model in which nothing reads these sets any more: as good as without them."""
        model = self.model.clone()
        twins = dict(zip(self.model.nodes(), model.nodes(), strict=True))
        for reader, rows in self.systems:
            weights = reader.system(rows).without(gone)
            _twin(reader.layer, twins).store(model, weights[None], reader.shift(weights))
        solved = {reader.layer.node for reader, _ in self.systems}
        reading = [place for place, _ in self.group.places if place.role == "in" and place.node not in solved]
        writing = [place for place, _ in self.group.places if place.role in ("out", "shift")]
        for place in reading if reading or solved else writing:
            _clear(
                model, place, twins[place.node], np.isin(self.groups.sets.roots[place.atoms], self.group.roots[gone])
            )
        return model


def _twin(layer: LinearLayer, twins: Mapping[Node, Node]) -> LinearLayer:
    """The same layer of a copy of its model."""
    bias = None if layer.bias is None else (twins[layer.bias[0]], layer.bias[1])
    return replace(layer, node=twins[layer.node], bias=bias)


def _clear(model: Model, place: Place, node: Node, is_gone: np.ndarray) -> None:
    values = input_value(node, place.slot)
    if values is None or values.dtype.kind not in "fV":
        return
    values = np.moveaxis(values.copy(), place.axis, 0)
    values[is_gone] = 0
    edit.set_weight(model, node, place.slot, np.moveaxis(values, 0, place.axis))
