"""rows · weights + shift must equal the output of onnxruntime's operator, for every geometry."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from onnx_compress.compiler.repair.layers import sampled
from onnx_compress.compiler.repair.present_activations import static_values
from onnx_compress.compiler.repair.refittable_layers import Seen, View, recognize
from onnx_compress.compiler.storage.structure import Structure
from tests.compiler.repair.recognized_layers import recognized, values_of


def assert_rows_give_the_output(layer, arrays, places=None):
    result = arrays[layer.result.name]
    outs = tuple(np.delete(result.shape, layer.axis))
    places = np.arange(np.prod(outs)) if places is None else places
    rows = layer.rows(arrays[layer.source.name], places, outs).astype(np.float64)
    found = rows @ layer.weights() + layer.shift()[:, None]
    found = found.transpose(1, 0, 2).reshape(len(places), -1)
    expected = sampled(result, layer.axis, places)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


PADS = ("pads = [0,0,0,0]", "pads = [1,2,3,0]", 'auto_pad = "VALID"')
SAME = ('auto_pad = "SAME_UPPER"', 'auto_pad = "SAME_LOWER"')
GEOMETRIES = [
    *product((1, 2, 3), (1, 2), (1, 2, 4), PADS),
    *product((1, 2, 3), (1,), (1, 2, 4), SAME),  # onnxruntime refuses these with dilation
]


@pytest.mark.parametrize(("stride", "dilation", "group", "pads"), GEOMETRIES, ids=str)
def test_rows_of_a_convolution(stride, dilation, group, pads):
    layer, arrays, _ = recognized(f"""
g (float[N,4,9,11] x) => (float[N,8,h,w] y) <float[8,{4 // group},3,2] k, float[8] b>
{{ y = Conv <strides = [{stride},2], dilations = [{dilation},1], group = {group}, {pads}> (x, k, b) }}""")
    assert_rows_give_the_output(layer, arrays)


TRANSPOSED_PADS = (
    "pads = [0,0,0,0]",
    "pads = [1,0,2,1]",
    "pads = [1,1,1,1], output_padding = [1,0]",
    'auto_pad = "SAME_UPPER"',
    'auto_pad = "SAME_LOWER"',
    "output_shape = [10,12]",
)


@pytest.mark.parametrize(
    ("stride", "dilation", "group", "pads"), [*product((2, 3), (1, 2), (1, 2), TRANSPOSED_PADS)], ids=str
)
def test_rows_of_a_transposed_convolution(stride, dilation, group, pads):
    layer, arrays, _ = recognized(f"""
g (float[N,4,5,6] x) => (float[N,c,h,w] y) <float[4,3,3,3] k, float[{3 * group}] b>
{{ y = ConvTranspose <strides = [{stride},2], dilations = [{dilation},1], group = {group}, {pads}> (x, k, b) }}""")
    assert_rows_give_the_output(layer, arrays)


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,4,9] x) => (float[N,6,l] y) <float[6,2,3] k> { y = Conv <group = 2, pads = [2,1]> (x, k) }",
        "g (float[N,4,5,6,7] x) => (float[N,6,d,h,w] y) <float[6,4,2,3,1] k, float[6] b>"
        " { y = Conv <strides = [2,1,3], pads = [1,0,0,0,1,2]> (x, k, b) }",
        "g (float[N,4,7] x) => (float[N,5,l] y) <float[4,5,4] k> { y = ConvTranspose <strides = [2]> (x, k) }",
        "g (float[N,6,8,8] x) => (float[N,6,h,w] y) <float[6,1,3,3] k>"
        " { y = Conv <group = 6, pads = [1,1,1,1], strides = [2,2]> (x, k) }",
    ],
    ids=["1-D", "3-D", "1-D transposed", "depthwise"],
)
def test_rows_in_other_dimensions(text):
    layer, arrays, _ = recognized(text)
    assert_rows_give_the_output(layer, arrays)


def test_rows_of_some_positions_only():
    layer, arrays, _ = recognized("""
g (float[N,4,9,11] x) => (float[N,8,h,w] y) <float[8,4,3,3] k>
{ y = Conv <strides = [2,1], pads = [1,1,1,1]> (x, k) }""")
    assert_rows_give_the_output(layer, arrays, np.array([0, 7, 54, 55, 164]))


@pytest.mark.parametrize(("a", "b"), [*product((0, 1), (0, 1))])
@pytest.mark.parametrize("bias", ["float[5] c", "float[1,5] c", "float[1] c", "float c"])
def test_rows_of_a_gemm(a, b, bias):
    x, w = ("float[7,N] x" if a else "float[N,7] x"), ("float[5,7] w" if b else "float[7,5] w")
    layer, arrays, _ = recognized(f"""
g ({x}) => (float[N,5] y) <{w}, {bias}>
{{ y = Gemm <transA = {a}, transB = {b}, alpha = 0.5, beta = 2.0> (x, w, c) }}""")
    assert_rows_give_the_output(layer, arrays)


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,4,7] x) => (float[N,4,5] y) <float[7,5] w> { y = MatMul (x, w) }",
        "g (float[N,2,4,7] x) => (float[N,2,4,5] y) <float[7,5] w, float[5] b> { m = MatMul (x, w) y = Add (b, m) }",
        "g (float[N,7,4] x) => (float[N,5,4] y) <float[5,7] w> { y = MatMul (w, x) }",
        "g (float[N,7] x) => (float[N,5] y) <float[7,5] w> { v = Identity (w) y = MatMul (x, v) }",
    ],
    ids=["right", "with a bias", "left", "behind Identity"],
)
def test_rows_of_a_matmul(text):
    layer, arrays, _ = recognized(text)
    assert_rows_give_the_output(layer, arrays)


CONV = "g (float[N,4,9,8] x) => (float[N,6,h,w] y) <float[6,2,3,2] k, float[6] b> { y = Conv <group = 2> (x, k, b) }"
TRANSPOSED = "g (float[N,4,9,8] x) => (float[N,6,h,w] y) <float[4,3,3,2] k> { y = ConvTranspose <group = 2> (x, k) }"
GEMM = """
g (float[N,7] x) => (float[N,5] y) <float[5,7] w, float c>
{ y = Gemm <transB = 1, alpha = 3.0, beta = 0.5> (x, w, c) }"""
LEFT = "g (float[N,7,4] x) => (float[N,5,4] y) <float[5,7] w> { y = MatMul (w, x) }"
ADDED = "g (float[N,7] x) => (float[N,5] y) <float[7,5] w, float[1,5] b> { m = MatMul (x, w) y = Add (m, b) }"


@pytest.mark.parametrize(
    "text", [CONV, TRANSPOSED, GEMM, LEFT, ADDED], ids=["conv", "transposed", "gemm", "left", "added"]
)
def test_what_is_stored_is_what_runs(text):
    layer, _, model = recognized(text)
    rng = np.random.default_rng(1)
    weights = rng.standard_normal(layer.weights().shape)
    shift = rng.standard_normal(layer.shift().shape) if layer.bias else np.zeros(layer.shift().shape)
    layer.store(model, weights, shift)
    assert np.abs(layer.weights() - weights).max() < 1e-6
    assert np.abs(layer.shift() - shift).max() < 1e-6
    assert_rows_give_the_output(layer, values_of(model))


def test_a_codebook_stays():
    from onnx_compress.compiler.ir import edit

    layer, _, model = recognized("g (float[N,64] x) => (float[N,32] y) <float[64,32] w> { y = Gemm (x, w) }")
    assert layer.free == "weights"
    signs = np.sign(layer.weights()[0]).astype(np.float32)
    edit.set_weight(model, layer.node, 1, signs, structure=Structure.tied(signs))
    arrays = values_of(model)
    seen = {name: Seen(array.shape, array.dtype) for name, array in arrays.items()}
    again = recognize(layer.node, View(model, static_values(model), seen))
    again.store(model, -2 * again.weights(), None)
    known = layer.node.inputs[1].structure
    assert known is not None
    assert known.codebook is not None
    assert known.codebook.tolist() == [-2.0, 2.0]
