"""The oracle for pruning: a model in which removed channels are zero must give what the pruned one gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.walk import Place
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal, apply


def every_second(groups: ChannelGroups, wanted: Callable[[Group], bool] = lambda group: True) -> tuple[Cut, ...]:
    return tuple(Cut(group, np.arange(1, group.size, 2)) for group in groups.prunable if wanted(group))


def is_exact(group: Group) -> bool:
    """Nothing but the removed channels themselves depends on them being there."""
    return group.why_coupled is None


def pruned(model: Model, wanted: Callable[[Group], bool] = lambda group: True) -> Model:
    twin = model.clone()
    groups = ChannelGroups.of(twin)
    apply(twin, Removal.of(groups, every_second(groups, wanted)))
    return twin


def zeroed(
    model: Model,
    wanted: Callable[[Group], bool] = lambda group: True,
    which: Callable[[Place], bool] = lambda place: True,
) -> Model:
    """The model with the slices of the same channels set to zero in all constants (or those in `which` places)."""
    twin = model.clone()
    groups = ChannelGroups.of(twin)
    gone = np.zeros(len(groups.sets.roots), bool)
    for cut in every_second(groups, wanted):
        gone[cut.group.roots[cut.gone]] = True
    for place in groups.walk.places:
        indices = np.flatnonzero(gone[groups.sets.roots[place.atoms]])
        if not len(indices) or not which(place):
            continue
        values = np.moveaxis(np.array(input_value(place.node, place.slot)), place.axis, 0)
        values[indices] = 0
        edit.set_weight(twin, place.node, place.slot, np.moveaxis(values, 0, place.axis))
    return twin


def distance(expected: list[np.ndarray], actual: list[np.ndarray]) -> float:
    """The largest difference, as a share of the output's scale."""
    assert [a.shape for a in expected] == [a.shape for a in actual]
    return max(float(np.abs(e - a).max() / np.abs(e).max()) for e, a in zip(expected, actual) if e.dtype.kind == "f")
