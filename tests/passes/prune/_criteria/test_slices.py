from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune._criteria.slices import read_values, slices_of
from onnx_compress.passes.prune._criteria.statistics import Channels


def test_slices_of_convolutions_know_their_kernels():
    """Each row is a channel's kernels one after another, whichever axis of the weight the channel is on."""
    model = from_text(
        '<ir_version: 8, opset_import: ["" : 17]>\n'
        "g (float[N,3,6,6] x) => (float[N,5,6,6] y) <float[8,3,3,3] a, float[8] b, float[8,4,1,5] c, float[5,4,1,1] e>"
        "{ h = Conv <pads = [1,1,1,1]> (x, a, b) k = ConvTranspose <pads = [0,2,0,2]> (h, c) y = Conv (k, e) }"
    )
    groups = ChannelGroups.of(model)
    values = {c.name: c.values for c in model.constants()}
    first, second = (slices_of(group, groups.sets.roots, {}) for group in groups.prunable)
    assert [(s.role, s.taps) for s in first] == [("out", 9), ("shift", 1), ("in", 5)]
    assert [(s.role, s.taps) for s in second] == [("out", 5), ("in", 1)]
    np.testing.assert_array_equal(first[2].values.reshape(8, 4, 5), values["c"].reshape(8, 4, 5))
    np.testing.assert_array_equal(second[0].values.reshape(4, 8, 5), values["c"].reshape(8, 4, 5).swapaxes(0, 1))


def test_shares_add_up_to_one_over_the_whole_axis():
    model = from_text(
        '<ir_version: 8, opset_import: ["" : 17]>\n'
        "g (float[N,4] x) => (float[N,3] y) <float[4,8] a, float[8,3] b> { h = MatMul (x, a) y = MatMul (h, b) }"
    )
    groups = ChannelGroups.of(model)
    (group,) = groups.prunable
    plain = slices_of(group, groups.sets.roots, {})
    known = {"h": Channels(np.zeros(8), np.array([1.0, 0, 0, 0, 0, 0, 0, 1.0]))}
    informed = slices_of(group, groups.sets.roots, known)
    for one in (*plain, *informed):
        assert one.share.sum() == pytest.approx(1)
    reads = next(one for one in informed if one.role == "in")
    assert np.flatnonzero(reads.share).tolist() == [0, 7], "inputs that never vary carry nothing"


def test_values_that_layers_of_groups_sum_over():
    model = from_text(
        '<ir_version: 8, opset_import: ["" : 17]>\n'
        "g (float[N,4] x) => (float[N,3] y) <float[4,8] a, float[8,3] b>"
        "{ h = MatMul (x, a) r = Relu (h) y = MatMul (r, b) }"
    )
    assert read_values(ChannelGroups.of(model), {"h", "r", "y"}) == {"r": -1}
    assert read_values(ChannelGroups.of(model), {"h"}) == {}
