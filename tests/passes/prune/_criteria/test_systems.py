from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.passes.prune._criteria import systems
from onnx_compress.passes.prune._criteria.systems import layers_of, measured, rows_of
from onnx_compress.passes.prune.prune_channels import PruneChannels
from tests.contexts import context

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,6,6] x) => (float[N,5] y) <float[8,3,1,1] a, float[4,8,3,3] c, float[4] d, float[64,5] e, float[5] f>
{ ["a"] h = Conv (x, a) r = Relu (h) ["c"] i = Conv (r, c, d) s = Relu (i) t = Flatten (s) ["e"] y = Gemm (t, e, f) }"""


@pytest.fixture
def prepared():
    model = from_text(TEXT)
    images = np.random.default_rng(0).standard_normal((200, 3, 6, 6)).astype(np.float32)
    ctx = context(PruneChannels(), model, data={"x": images})
    groups = ChannelGroups.of(model)
    return model, ctx, groups, layers_of(model, groups, ctx.data)[0]


def test_layers_that_read_channels_can_be_solved(prepared):
    _, _, _, layers = prepared
    assert sorted(node.name for node in layers) == ["c", "e"]


def test_large_layers_are_left_out(prepared, monkeypatch):
    model, ctx, groups, _ = prepared
    monkeypatch.setattr(systems, "MOST_UNKNOWNS", 70)
    assert [node.name for node in layers_of(model, groups, ctx.data)[0]] == ["e"]


def test_rows_of_a_channel_are_the_weights_that_read_it(prepared):
    _, _, groups, layers = prepared
    for group in groups.prunable:
        for node, layer in layers.items():
            rows = rows_of(layer, group, groups.sets.roots)
            if rows is None:
                continue
            assert sorted(rows.ravel().tolist()) == list(range(layer.weights().shape[1]))
            place = next(p for p, _ in group.places if p.node is node and p.role == "in")
            values = np.moveaxis(node.inputs[1].values, place.axis, 0)
            for channel, mine in enumerate(rows):
                count = len(values) // group.size
                expected = values[channel * count : (channel + 1) * count]
                assert np.sort(layer.weights()[0][mine].ravel()) == pytest.approx(np.sort(expected.ravel()))


def test_a_layer_that_does_not_read_the_group_has_no_rows(prepared):
    _, _, groups, layers = prepared
    last = next(layer for node, layer in layers.items() if node.name == "e")
    first = next(group for group in groups.prunable if group.size == 8)
    assert rows_of(last, first, groups.sets.roots) is None


def test_mean_and_covariance_of_the_inputs(prepared):
    model, ctx, _, layers = prepared
    node, layer = next((node, layer) for node, layer in layers.items() if node.name == "e")
    found = measured(model, [layer], ctx.data, 50, ctx.rng, lambda done=1: None)[node]
    inputs = np.concatenate([arrays["t"] for arrays in Capture(model, ["t"]).batches(ctx.data, 50)])
    np.testing.assert_allclose(found.mean, inputs.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.gram, np.cov(inputs.T, bias=True), rtol=1e-4, atol=1e-5)
    weights = 0.5 * layer.weights()[0]
    moved = inputs @ weights + found.shift(weights)
    np.testing.assert_allclose(
        moved.mean(0), (inputs @ layer.weights()[0] + layer.shift()).mean(0), rtol=1e-4, atol=1e-4
    )
