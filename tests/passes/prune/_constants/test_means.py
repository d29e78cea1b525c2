from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal, apply
from onnx_compress.passes.prune._constants.means import add_to_biases, readers, shifts
from onnx_compress.passes.prune._criteria.statistics import Channels
from tests.behaviour import feeds_for, run

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
LAYERS = {
    "conv": ("g (float[N,3,4,4] x) => (float[N,5,4,4] y) <float[8,3,1,1] a, float[8] ab, float[5,8,1,1] w, float[5] b>"
             "{ h = Conv (x, a, ab) y = Conv (h, w, b) }"),
    "conv without a bias": ("g (float[N,3,4,4] x) => (float[N,5,4,4] y) <float[8,3,1,1] a, float[8] ab,"
                            "float[5,8,1,1] w> { h = Conv (x, a, ab) y = Conv (h, w) }"),
    "gemm": ("g (float[N,3] x) => (float[N,5] y) <float[3,8] a, float[8] ab, float[5,8] w, float[5] b>"
             "{ h = Gemm (x, a, ab) y = Gemm <transB=1, alpha=0.5> (h, w, b) }"),
    "matmul": ("g (float[N,3] x) => (float[N,5] y) <float[3,8] a, float[8] ab, float[8,5] w, float[5] b>"
               "{ h = Gemm (x, a, ab) m = MatMul (h, w) y = Add (m, b) }"),
}  # fmt: skip


def prepared(text):
    model = from_text(HEAD + text)
    groups = ChannelGroups.of(model)
    (group,) = groups.prunable
    return model, Removal.of(groups, (Cut(group, np.array([1, 5])),))


@pytest.mark.parametrize("name", LAYERS)
def test_means_of_removed_channels_are_kept_in_the_bias(name):
    """With inputs that equal their means, the outputs stay."""
    model, _ = prepared(LAYERS[name])
    first = model.graph.nodes[0]
    edit.set_weight(model, first, 1, np.zeros_like(first.inputs[1].values))
    groups = ChannelGroups.of(model)
    (group,) = groups.prunable
    removal = Removal.of(groups, (Cut(group, np.array([1, 5])),))
    feeds = feeds_for(model)
    (before,) = run(model, feeds)
    mean = np.array(first.inputs[2].values, np.float64)
    lost = shifts(readers(model, removal), {"h": Channels(mean, np.zeros(8))}, only_constant=True)
    assert len(lost) == 1
    apply(model, removal)
    add_to_biases(model, lost)
    np.testing.assert_allclose(run(model, feeds)[0], before, rtol=1e-4, atol=1e-5)


def test_only_constant_channels_where_nothing_else_is_wanted():
    model, removal = prepared(LAYERS["gemm"])
    statistics = {"h": Channels(np.ones(8), np.where(np.arange(8) == 1, 0.0, 4.0))}
    (reader,) = readers(model, removal)
    assert reader.gone.tolist() == [1, 5]
    weights = reader.node.inputs[1].values
    ((_, exact),) = shifts([reader], statistics, only_constant=True)
    ((_, every),) = shifts([reader], statistics, only_constant=False)
    np.testing.assert_allclose(exact, 0.5 * weights[:, 1], rtol=1e-6)
    np.testing.assert_allclose(every, 0.5 * weights[:, [1, 5]].sum(1), rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        LAYERS["matmul"].replace("y = Add (m, b)", "y = Relu (m)").replace(", float[5] b", ""),
        LAYERS["gemm"].replace("alpha=0.5", "beta=0.5"),
    ],
    ids=["no bias", "scaled bias"],
)
def test_layers_without_such_a_bias_are_left_out(text):
    model, removal = prepared(text)
    assert readers(model, removal) == []
