"""What each channel of a group is made of: its slices of all weights, and its share in what is computed from it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.walk import Place
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.passes.prune._criteria import Slices
from onnx_compress.passes.prune._statistics import Channels, summed_axis

Statistics = Mapping[str, Channels]


def slices_of(group: Group, roots: np.ndarray, statistics: Statistics) -> list[Slices]:
    """For each place of the group the weights of each of its channels, in the order of `group.roots`."""
    found = []
    for place, count in group.places:
        values = input_value(place.node, place.slot)
        if values is None or values.dtype.kind not in "fV":
            continue
        owners = roots[place.atoms]
        mine = np.flatnonzero(np.isin(owners, group.roots))
        order = mine[np.argsort(owners[mine], kind="stable")].reshape(group.size, count)
        rows = np.moveaxis(values, place.axis, 0).reshape(values.shape[place.axis], -1)
        energy = _energy(place, rows, statistics)
        total = energy.sum()
        share = energy[order].sum(1) / total if total > 0 else np.zeros(group.size)
        found.append(Slices(place.role, rows[order].reshape(group.size, -1), share))
    return found


def _energy(place: Place, rows: np.ndarray, statistics: Statistics) -> np.ndarray:
    """‖w_i‖² for each index i of an axis, times the variance of what it is multiplied with where that is known."""
    energy: np.ndarray = (rows.astype(np.float64) ** 2).sum(1)
    read = summed_axis(place.node, place.slot) if place.role == "in" else None
    channels = statistics.get(read[0].name) if read is not None else None
    if channels is None or len(channels.variance) % len(energy):
        return energy
    # The weight of a grouped convolution counts the inputs of one group.
    return np.asarray(energy * channels.variance.reshape(-1, len(energy)).mean(0))


def read_values(groups: ChannelGroups, known: set[str]) -> dict[str, int]:
    """The values that layers of prunable groups sum over, with the axis, as far as they are among `known`."""
    found: dict[str, int] = {}
    for group in groups.prunable:
        for place, _ in group.places:
            read = summed_axis(place.node, place.slot) if place.role == "in" else None
            if read is not None and read[0].name in known:
                found[read[0].name] = read[1]
    return found
