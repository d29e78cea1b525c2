"""What each channel of a group is made of: its slices of all weights."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.channels import Group
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.passes.prune._criteria import Slices


def slices_of(group: Group, roots: np.ndarray) -> list[Slices]:
    """For each place of the group the weights of each of its channels, in the order of `group.roots`."""
    found = []
    for place, count in group.places:
        values = input_value(place.node, place.slot)
        if values is None or values.dtype.kind not in "fV":
            continue
        owners = roots[place.atoms]
        mine = np.flatnonzero(np.isin(owners, group.roots))
        order = mine[np.argsort(owners[mine], kind="stable")].reshape(group.size, count)
        rows = np.moveaxis(values, place.axis, 0)[order]
        found.append(Slices(place.role, rows.reshape(group.size, -1)))
    return found
