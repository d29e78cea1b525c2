from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.contractions import contractions
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune._gather.inputs import gather_inputs
from onnx_compress.passes.prune.remove_dead_channels import RemoveDeadChannels
from tests.behaviour import feeds_for, run
from tests.contexts import context

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,8] x) => (float[N,3] y, float[N,4] z, float[N,8] r) <float[8,3] a, float[8,4] b>
{ r = Relu (x) ["a"] y = MatMul (r, a) ["b"] z = MatMul (r, b) }"""


def prepared(**unread):
    """Layers whose weights for the inputs `unread` are zero."""
    model = from_text(TEXT)
    for node in model.graph.nodes:
        if node.name in unread:
            values = np.array(node.inputs[1].values)
            values[unread[node.name]] = 0
            edit.set_weight(model, node, 1, values)
    return model


def gathered(model, **options):
    feeds = feeds_for(model)
    before = run(model, feeds)
    ctx = context(RemoveDeadChannels(), model, **options)
    changed = gather_inputs(model, ctx, contractions(model, ChannelGroups.of(model).walk))
    for old, new in zip(before, run(model, feeds), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
    return changed, {n.name: tuple(n.inputs[1].shape) for n in model.graph.nodes if n.op == "MatMul"}


def test_layers_that_read_one_value_share_a_gather():
    model = prepared(a=[0, 1, 2], b=[0, 2, 7])
    assert gathered(model) == (2, {"a": (6, 3), "b": (6, 4)})
    (gather,) = [node for node in model.graph.nodes if node.op == "Gather"]
    assert gather.inputs[1].values.tolist() == [1, 3, 4, 5, 6, 7]
    assert gather.outputs[0].origin.kept[1].tolist() == [1, 3, 4, 5, 6, 7]


def test_inputs_that_any_layer_needs_stay():
    assert gathered(prepared(a=[0, 1, 2])) == (0, {"a": (8, 3), "b": (8, 4)})


def test_excluded_layers_stay():
    model = prepared(a=[0, 1], b=[0, 1])
    assert gathered(model, exclude=("b",)) == (1, {"a": (6, 3), "b": (8, 4)})


def test_one_input_stays_where_none_is_read():
    assert gathered(prepared(a=range(8), b=range(8))) == (2, {"a": (1, 3), "b": (1, 4)})
