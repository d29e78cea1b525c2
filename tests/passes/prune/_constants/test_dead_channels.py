from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune._constants.dead_channels import find_dead
from onnx_compress.passes.prune.remove_dead_channels import RemoveDeadChannels
from tests.contexts import context

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,3,6,6] x) => (float[N,4,4,4] y) <float[6,3,1,1] a, float[6] b, float[4,6,3,3] c>
{ ["one"] h = Conv (x, a, b) r = Relu (h) ["two"] y = Conv (r, c) }"""


def prepared(gone, bias, text=TEXT):
    """The first layer computes the channels `gone` from nothing, so they are `bias` everywhere."""
    model = from_text(text)
    node = model.graph.nodes[0]
    weights, biases = (np.array(node.inputs[slot].values) for slot in (1, 2))
    weights[gone], biases[gone] = 0, bias
    edit.set_weight(model, node, 1, weights)
    edit.set_weight(model, node, 2, biases)
    return model


def found(model, **options):
    ctx = context(RemoveDeadChannels(), model, **options)
    return find_dead(model, ctx, ChannelGroups.of(model)), ctx.skips


def test_channels_of_zeros_are_dead_and_add_nothing():
    dead, skips = found(prepared([1, 4], 0.0))
    (cut,) = dead.cuts
    assert cut.gone.tolist() == [1, 4]
    assert (dead.shifts, skips) == ({}, [])


def test_what_a_constant_adds_is_known():
    model = prepared([1, 4], 2.0)
    dead, _ = found(model)
    ((layer, shift),) = dead.shifts.items()
    assert layer.node.name == "two"
    weights = next(c for c in model.constants() if c.name == "c").values
    np.testing.assert_allclose(shift, 2.0 * weights[:, [1, 4]].sum((1, 2, 3)), rtol=1e-5)


def test_a_constant_that_the_activation_makes_zero_adds_nothing():
    dead, _ = found(prepared([1, 4], -2.0))
    assert len(dead.cuts) == 1
    assert dead.shifts == {}


def test_a_padding_layer_keeps_constants_and_says_so():
    text = TEXT.replace("y = Conv (r, c)", "y = Conv <pads=[1,1,1,1]> (r, c)").replace("4,4,4] y", "4,6,6] y")
    dead, skips = found(prepared([1, 4], 2.0, text))
    assert dead.cuts == ()
    assert [skip.why.partition(":")[0] for skip in skips] == ["2 of its inputs stay, constant but non-zero"]


def test_one_channel_stays_on_every_axis():
    dead, _ = found(prepared(list(range(6)), 0.0))
    (cut,) = dead.cuts
    assert len(cut.gone) == 5


def test_channels_of_excluded_layers_stay():
    dead, _ = found(prepared([1, 4], 0.0), exclude=("two",))
    assert dead.cuts == ()
