from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.sparsify._apply import Goal, drop, sparsify
from onnx_compress.passes.sparsify._curves import Part
from onnx_compress.passes.sparsify._patterns import Pattern
from onnx_compress.passes.sparsify._rounds import Method
from onnx_compress.passes.sparsify._weights import WeightMatrix
from onnx_compress.passes.sparsify.sparsify_weights import SparsifyWeights
from tests.contexts import context

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,20] x) => (float[N,10] y) <float[20,10] a> { ["a"] y = MatMul (x, a) }"""


def goal_of(model, count, pattern="unstructured"):
    node = model.graph.nodes[0]
    matrix = WeightMatrix((20, 10), [(node, 1)])
    return Goal(Part(matrix, None, Method("magnitude", Pattern.parse(pattern), matrix.channels)), count)


@pytest.mark.parametrize("count", [1, 50, 199])
def test_the_weights_of_highest_magnitude_stay(count):
    model = from_text(TEXT)
    before = np.array(model.graph.nodes[0].inputs[1].values)
    drop(model, goal_of(model, count))
    after = model.graph.nodes[0].inputs[1].values
    alive = after != 0
    assert alive.sum() == count
    assert (after[alive] == before[alive]).all()
    assert np.abs(before[alive]).min() >= np.abs(before[~alive]).max()


def test_weights_that_were_chosen_already_stay():
    model = from_text(TEXT)
    drop(model, goal_of(model, 50))
    chosen = np.array(model.graph.nodes[0].inputs[1].values)
    drop(model, goal_of(model, 60))
    assert (model.graph.nodes[0].inputs[1].values == chosen).all()


def test_zeros_are_promised_to_stay():
    model = from_text(TEXT)
    drop(model, goal_of(model, 50))
    structure = model.graph.nodes[0].inputs[1].structure
    assert structure is not None
    assert structure.mask((20, 10)).sum() == 50


def test_without_data_weights_are_dropped_in_their_pattern():
    model = from_text(TEXT)
    ctx = context(SparsifyWeights(sparsity=0.5), model)
    sparsify(model, [goal_of(model, 100, "2of4")], 4, ctx)
    alive = model.graph.nodes[0].inputs[1].values != 0
    assert (alive.reshape(5, 4, 10).sum(1) == 2).all()
    assert "refit" not in ctx.notes
