"""Find the channels that can be removed without changing the outputs, and what their constants add to the biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.constants import Constants
from onnx_compress.compiler.analysis.contractions import Contraction, contractions
from onnx_compress.compiler.analysis.weight_readers import is_read_by
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.surgery.channel_removal import Cut
from onnx_compress.passes.prune._constants.biases import obstacle
from onnx_compress.passes.prune._constants.liveness import anchored, live

Columns = Mapping[Contraction, np.ndarray]
"""For each layer one value per position that it sums over, or per result."""


@dataclass(frozen=True, eq=False)
class Dead:
    """The `cuts` to make, and for each layer what to add to the bias of the remaining `rows`."""

    cuts: tuple[Cut, ...]
    shifts: Columns


def find_dead(model: Model, ctx: Context, groups: ChannelGroups) -> Dead:
    """The channels that can't affect the outputs; refusals are reported."""
    layers = contractions(model, groups.walk)
    known = Constants(model, groups, layers)
    values = {layer: _values(known, layer) for layer in layers}
    obstacles = {layer: obstacle(layer) for layer in layers if (np.nan_to_num(values[layer]) != 0).any()}
    constant = {layer: ~np.isnan(v) for layer, v in values.items()}
    foldable = {layer: values[layer] == 0 if obstacles.get(layer) else constant[layer] for layer in layers}
    matters = anchored(model, known, layers) | _excluded(groups, ctx)
    alive = live(groups, layers, matters, foldable)
    if any(obstacles.values()):
        wanted = alive & ~live(groups, layers, matters, constant)
        _refuse(ctx, groups, {layer: why for layer, why in obstacles.items() if why}, values, wanted)
    gone = _removable(groups, ~alive)
    cuts = tuple(Cut(group, np.flatnonzero(gone[group.roots])) for group in groups.groups if gone[group.roots].any())
    return Dead(cuts, _shifts(groups, values, foldable, gone) if cuts else {})


def _values(known: Constants, layer: Contraction) -> np.ndarray:
    """The known value of each column: float64, NaN where unknown."""
    found = known.along(layer.source, layer.axis)
    return np.broadcast_to(np.nan if found is None else found, layer.size[1:])


def _excluded(groups: ChannelGroups, ctx: Context) -> np.ndarray:
    """The sets that touch an excluded layer."""
    found = np.zeros(len(groups.sets.roots), bool)
    for place in groups.walk.places:
        if is_read_by(place.node.inputs[place.slot], ctx.is_excluded):
            found[groups.sets.roots[place.atoms]] = True
    return found


def _refuse(
    ctx: Context, groups: ChannelGroups, obstacles: Mapping[Contraction, str], values: Columns, wanted: np.ndarray
) -> None:
    """Report the layers that keep constant non-zero channels."""
    for layer, why in obstacles.items():
        if layer.columns is None:
            continue
        kept = wanted[groups.sets.roots[layer.columns]] & (np.nan_to_num(values[layer]) != 0)
        if kept.any():
            ctx.skip(layer.node, f"{int(kept.sum())} of its inputs stay, constant but non-zero: {why}")


def _removable(groups: ChannelGroups, dead: np.ndarray) -> np.ndarray:
    """The dead sets, except that every axis keeps at least one index."""
    gone = np.zeros(len(dead), bool)
    for group in groups.groups:
        gone[group.roots] = dead[group.roots]
    roots = groups.sets.roots
    tracked = [axis for axes in groups.walk.axes.values() for axis in axes if isinstance(axis, np.ndarray)]
    seen: set[int] = set()
    for atoms in (*(place.atoms for place in groups.walk.places), *tracked):
        if id(atoms) not in seen:
            seen.add(id(atoms))
            if gone[roots[atoms]].all():
                gone[roots[atoms[0]]] = False
    return gone


def _shifts(groups: ChannelGroups, values: Columns, foldable: Columns, gone: np.ndarray) -> Columns:
    """What the removed columns add to the remaining rows."""
    found = {}
    for layer, vector in values.items():
        if layer.columns is None:
            continue
        removed = gone[groups.sets.roots[layer.columns]] & foldable[layer]
        added = np.where(removed, np.nan_to_num(vector), 0.0)
        if not added.any():
            continue
        shift = layer.of_constants(added)
        stays = np.ones(len(shift), bool) if layer.rows is None else ~gone[groups.sets.roots[layer.rows]]
        if shift[stays].any():
            found[layer] = shift[stays]
    return found
