"""The weights that belong to each channel of a group, and each channel's share in what is computed from it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups, Group
from onnx_compress.compiler.analysis.channels.walk import Place
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.passes.prune._criteria.statistics import Channels, summed_axis
from onnx_compress.passes.prune._criteria.weight_scores import Slices

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
        factors = _inputs(place, len(rows), statistics)
        energy = (rows.astype(np.float64) ** 2).sum(1) * factors[0]
        reach = np.abs(rows.astype(np.float64)).sum(1) * np.sqrt(factors[1])
        parts = rows[order].reshape(group.size, -1)
        found.append(Slices(place.role, parts, _shares(energy, order), _shares(reach, order), _taps(place, values)))
    return found


def _taps(place: Place, values: np.ndarray) -> int:
    """Elements of one kernel; 1 for weights that are not kernels."""
    is_kernel = place.node.is_op("Conv", "ConvTranspose") and place.role in ("out", "in")
    return prod(values.shape[2:]) if is_kernel else 1


def _shares(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The share [sets] of the indices [sets, count] of each set in the sum over an axis."""
    total = values.sum()
    return np.asarray(values[order].sum(1) / total) if total > 0 else np.zeros(len(order))


def _inputs(place: Place, length: int, statistics: Statistics) -> np.ndarray:
    """Variance and mean square [2, length] of the inputs at each index of an axis; 1 if unknown."""
    read = summed_axis(place.node, place.slot) if place.role == "in" else None
    channels = statistics.get(read[0].name) if read is not None else None
    if channels is None or len(channels.variance) % length:
        return np.ones((2, length))
    found = np.stack([channels.variance, channels.variance + channels.mean**2])
    # The weight of a grouped convolution counts the inputs of one group.
    return np.asarray(found.reshape(2, -1, length).mean(1))


def read_values(groups: ChannelGroups, known: set[str]) -> dict[str, int]:
    """The values among `known` that layers of prunable groups sum over, with the summed axis."""
    found: dict[str, int] = {}
    for group in groups.prunable:
        for place, _ in group.places:
            read = summed_axis(place.node, place.slot) if place.role == "in" else None
            if read is not None and read[0].name in known:
                found[read[0].name] = read[1]
    return found
