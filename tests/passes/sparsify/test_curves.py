from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.sparsify._curves import LEAST, STEP, Part, by_magnitude, measured
from onnx_compress.passes.sparsify._patterns import Pattern
from onnx_compress.passes.sparsify._rounds import Method
from onnx_compress.passes.sparsify._weights import WeightMatrix
from onnx_compress.passes.sparsify.sparsify_weights import SparsifyWeights
from tests.contexts import context

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,20] x) => (float[N,10] y) <float[20,30] a, float[30,10] b>
{ ["a"] h = MatMul (x, a) r = Relu (h) ["b"] y = MatMul (r, b) }"""


def part_of(model: Model, which: int, pattern: str = "unstructured", density: float | None = None) -> Part:
    node = model.graph.nodes[which]
    matrix = WeightMatrix(tuple(node.inputs[1].shape), [(node, 1)])
    return Part(matrix, None, Method("magnitude", Pattern.parse(pattern), matrix.channels), density)


def test_points_fall_geometrically_from_the_present_number():
    model = from_text(TEXT)
    counts = part_of(model, 0).counts()
    assert counts[0] == 600
    assert counts[1] == int(600 * STEP)
    assert counts[-1] < 600 * LEAST / STEP
    edit.set_weight(model, model.graph.nodes[0], 1, np.eye(20, 30, dtype=np.float32))
    assert part_of(model, 0).counts()[0] == 20, "zeros are gone already"
    assert part_of(model, 0).counts()[-1] == 1


def test_patterns_and_densities_prescribe_the_number():
    model = from_text(TEXT)
    assert part_of(model, 0, "2of4").counts().tolist() == [600, 300]
    assert part_of(model, 0, density=0.25).counts().tolist() == [150]


def test_without_data_the_loss_is_the_share_of_squares():
    part = part_of(from_text(TEXT), 0)
    curve = by_magnitude(part)
    squares = np.sort(np.square(part.weight.matrices()).ravel())[::-1]
    expected = [1 - squares[:count].sum() / squares.sum() for count in part.counts()]
    assert curve.losses == pytest.approx(expected, abs=1e-9)


def test_a_layer_that_hardly_reaches_the_outputs_loses_less():
    model = from_text(TEXT)
    first = model.graph.nodes[0]
    values = first.inputs[1].values.copy()
    values[:, 1:] *= np.float32(1e-3)
    edit.set_weight(model, first, 1, values)
    data = {"x": np.random.default_rng(0).standard_normal((128, 20)).astype(np.float32)}
    ctx = context(SparsifyWeights(sparsity=0.5), model, data=data)
    parts = [part_of(model, 0), part_of(model, 2)]
    curves = measured(model, parts, 200, ctx)
    assert all((np.diff(curve.losses) >= 0).all() and curve.losses[0] == 0 for curve in curves)
    assert measured(model, parts, 200, ctx) is curves, "measured once"
