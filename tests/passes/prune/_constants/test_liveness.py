from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.constants import Constants
from onnx_compress.compiler.analysis.contractions import contractions
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune._constants.liveness import anchored, live

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
CHAIN = """g (float[N,4] x) => (float[N,3] y) <float[4,6] a, float[6,5] b, float[5,3] c>
{ ["a"] h = MatMul (x, a) r = Relu (h) ["b"] k = MatMul (r, b) s = Relu (k) ["c"] y = MatMul (s, c) }"""


def alive_of(model):
    """How many channels of each prunable group are live."""
    groups = ChannelGroups.of(model)
    layers = contractions(model, groups.walk)
    known = Constants(model, groups, layers)
    folded = {layer: np.zeros(layer.size[1], bool) for layer in layers}
    found = live(groups, layers, anchored(model, known, layers), folded)
    return {group.size: int(found[group.roots].sum()) for group in groups.prunable}


def cleared(name, rows=slice(None), columns=slice(None), text=CHAIN):
    model = from_text(HEAD + text)
    node = next(node for node in model.graph.nodes if node.name == name)
    values = node.inputs[1].values.copy()
    values[rows, columns] = 0
    edit.set_weight(model, node, 1, values)
    return model


def test_everything_that_reaches_an_output_is_live():
    assert alive_of(from_text(HEAD + CHAIN)) == {6: 6, 5: 5}


def test_a_channel_that_nobody_reads_is_dead():
    assert alive_of(cleared("c", rows=[1, 3])) == {6: 6, 5: 3}


def test_so_is_one_that_only_dead_channels_read():
    model = cleared("c", rows=[1, 2, 3, 4])
    node = next(node for node in model.graph.nodes if node.name == "b")
    values = np.zeros((6, 5), np.float32)
    values[2, 0] = values[5, 3] = 1
    edit.set_weight(model, node, 1, values)
    assert alive_of(model) == {6: 1, 5: 1}


@pytest.mark.parametrize(
    "between", ["t = Softmax (s)", "q = Transpose (s) p = MatMul (q, s) t = MatMul (s, p)"], ids=["norm", "product"]
)
def test_channels_that_are_coupled_or_summed_over_without_weights_are_live(between):
    text = CHAIN.replace('["c"] y = MatMul (s, c)', f'{between} ["c"] y = MatMul (t, c)')
    found = alive_of(cleared("c", rows=[1, 3], text=text))
    assert found.get(5, 5) == 5
