"""Layers that sum over channels: the weights of each pair of channels, compared with onnxruntime."""

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.contractions import Contraction, contractions
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from tests.behaviour import run

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
LAYERS = {
    "Conv": "g (float[1,4,5] x) => (float[1,6,4] y) <float[6,4,2] w> { y = Conv (x, w) }",
    "grouped Conv": "g (float[1,4,5] x) => (float[1,6,4] y) <float[6,2,2] w> { y = Conv <group = 2> (x, w) }",
    "depthwise Conv": "g (float[1,4,5] x) => (float[1,8,4] y) <float[8,1,2] w> { y = Conv <group = 4> (x, w) }",
    "ConvTranspose": "g (float[1,4,5] x) => (float[1,3,6] y) <float[4,3,2] w> { y = ConvTranspose (x, w) }",
    "grouped ConvTranspose": (
        "g (float[1,4,5] x) => (float[1,6,6] y) <float[4,3,2] w> { y = ConvTranspose <group = 2> (x, w) }"
    ),
    "Gemm": "g (float[3,4] x) => (float[3,6] y) <float[4,6] w> { y = Gemm <alpha = 0.5> (x, w) }",
    "Gemm, both turned": (
        "g (float[4,3] x) => (float[3,6] y) <float[6,4] w> { y = Gemm <transA = 1, transB = 1> (x, w) }"
    ),
    "Gemm, weight first": "g (float[4,3] x) => (float[6,3] y) <float[6,4] w> { y = Gemm (w, x) }",
    "Gemm, turned weight first": (
        "g (float[3,4] x) => (float[6,3] y) <float[4,6] w> { y = Gemm <transA = 1, transB = 1> (w, x) }"
    ),
    "MatMul": "g (float[2,3,4] x) => (float[2,3,6] y) <float[4,6] w> { y = MatMul (x, w) }",
    "MatMul, weight first": "g (float[2,4,3] x) => (float[2,6,3] y) <float[6,4] w> { y = MatMul (w, x) }",
    "MatMul, a matrix per sample": "g (float[2,3,4] x) => (float[2,3,6] y) <float[2,4,6] w> { y = MatMul (x, w) }",
    "MatMul, a vector": "g (float[3,4] x) => (float[3] y) <float[4] w> { y = MatMul (x, w) }",
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def layer_of(model: Model) -> Contraction:
    (found,) = contractions(model, ChannelGroups.of(model).walk)
    return found


def response(model: Model, layer: Contraction, column: int, values: np.ndarray) -> np.ndarray:
    """The results [rows, elements] if one position of the summed axis has these values and the others are zero."""
    shape = [dim for dim in model.inputs()[0].shape]
    x = np.zeros(shape, np.float32)
    np.moveaxis(x, layer.axis, 0)[column] = values
    (y,) = run(model, {"x": x})
    if layer.out_axis is None:
        return y.reshape(1, -1)
    return np.moveaxis(y, layer.result_axis, 0).reshape(layer.size[0], -1)


@each_layer
def test_nonzero_names_the_rows_that_a_weight_reaches(name):
    model = from_text(HEAD + LAYERS[name])
    layer = layer_of(model)
    weight = next(model.constants())
    weight.values_set(np.where(np.random.default_rng(3).random(weight.shape) < 0.6, 0, weight.values))
    layer = layer_of(model)
    reached = np.zeros(layer.size, bool)
    noise = np.random.default_rng(0).standard_normal
    inner = np.moveaxis(np.zeros(model.inputs()[0].shape), layer.axis, 0).shape[1:]
    for column in range(layer.size[1]):
        reached[:, column] = response(model, layer, column, noise(inner)).any(1)
    expected = np.zeros(layer.size, bool)
    rows, columns = (
        np.array_split(np.arange(layer.size[0]), layer.groups),
        np.split(np.arange(layer.size[1]), layer.groups),
    )
    for nonzero, r, c in zip(layer.nonzero, rows, columns, strict=True):
        expected[np.ix_(r, c)] = nonzero
    assert 0 < expected.sum() < expected.size or layer.groups > 1
    assert np.array_equal(reached, expected)


@each_layer
def test_constants_add_the_same_everywhere_in_uniform_layers(name):
    model = from_text(HEAD + LAYERS[name])
    layer = layer_of(model)
    for column in range(layer.size[1]):
        got = response(model, layer, column, np.float32(2.0))
        if not layer.is_uniform:
            continue
        values = np.zeros(layer.size[1])
        values[column] = 2.0
        np.testing.assert_allclose(got, np.broadcast_to(layer.of_constants(values)[:, None], got.shape), atol=1e-5)
    assert layer.is_uniform == (
        "Transpose" not in name and name.split(", ")[-1] not in ("a matrix per sample", "a vector")
    )


def test_padding_is_not_uniform():
    padded = from_text(
        HEAD + "g (float[1,2,5] x) => (float[1,2,5] y) <float[2,2,3] w> { y = Conv <pads=[1,1]> (x, w) }"
    )
    same = from_text(
        HEAD + 'g (float[1,2,5] x) => (float[1,2,5] y) <float[2,2,3] w> { y = Conv <auto_pad="SAME_UPPER"> (x, w) }'
    )
    assert not layer_of(padded).is_uniform
    assert not layer_of(same).is_uniform


def test_products_of_computed_values_are_not_contractions():
    model = from_text(HEAD + "g (float[2,3] a, float[3,2] b) => (float[2,2] y) { y = MatMul (a, b) }")
    assert contractions(model, ChannelGroups.of(model).walk) == []
