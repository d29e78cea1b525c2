from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.sparsify._counts import counts
from onnx_compress.passes.sparsify._curves import Part
from onnx_compress.passes.sparsify._patterns import Pattern
from onnx_compress.passes.sparsify._rounds import Method
from onnx_compress.passes.sparsify._weights import WeightMatrix
from onnx_compress.passes.sparsify.sparsify_weights import SparsifyWeights
from tests.contexts import context

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,40] x) => (float[N,10] y) <float[40,50] a, float[50,10] b>
{ ["a"] h = MatMul (x, a) r = Relu (h) ["b"] y = MatMul (r, b) }"""


def kept(sparsity, scope, criterion="magnitude", pattern="unstructured", densities=(None, None), scale=1.0):
    """The number of weights that each of two layers keeps; the second one's weights are scaled."""
    model = from_text(TEXT)
    second = model.graph.nodes[2]
    edit.set_weight(model, second, 1, np.asarray(second.inputs[1].values * np.float32(scale)))
    method = Method(criterion, Pattern.parse(pattern), 1)
    parts = []
    for node, density in zip((model.graph.nodes[0], second), densities, strict=True):
        matrix = WeightMatrix(tuple(node.inputs[1].shape), [(node, 1)])
        parts.append(Part(matrix, None, Method(criterion, method.pattern, matrix.channels), density))
    ctx = context(SparsifyWeights(sparsity=sparsity), model)
    return counts(model, parts, sparsity, scope, 0, ctx)


def test_uniform_keeps_the_same_share_of_each():
    assert kept(0.75, "uniform") == [500, 125]
    assert kept(0.75, "uniform", densities=(None, 0.5)) == [500, 250]


@pytest.mark.parametrize("criterion", ["magnitude", "lamp", "std"])
def test_global_keeps_the_share_of_all_together(criterion):
    assert sum(kept(0.6, "global", criterion)) == pytest.approx(1000, abs=1)


def test_criteria_that_compare_layers_ignore_their_scale():
    assert kept(0.6, "global", "std") == kept(0.6, "global", "std", scale=100)


def test_a_prescribed_density_comes_first():
    first, second = kept(0.6, "global", "lamp", densities=(0.25, None))
    assert first == 500
    assert second == 500, "all that there are"
    first, second = kept(0.6, "global", densities=(0.45, None))
    assert (first, second) == (900, 100)


def test_runs_keep_their_pattern():
    assert kept(0.5, "uniform", pattern="2of4") == [1000, 250]
