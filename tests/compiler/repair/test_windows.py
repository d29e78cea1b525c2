"""The patches that convolutions read, against onnxruntime's convolutions."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair.windows import Windows
from tests.behaviour import run

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
CONVS = [
    ("2,3,9", "4,3,3", "strides = [1]"),
    ("2,3,9", "4,3,3", "strides = [2], pads = [2,1]"),
    ("2,3,9", "4,3,2", "dilations = [3], pads = [0,3]"),
    ("1,2,7,6", "3,2,3,2", "strides = [2,1], pads = [1,0,2,1], dilations = [1,2]"),
    ("1,2,7,6", "3,2,3,3", 'auto_pad = "SAME_UPPER", strides = [2,2]'),
    ("1,2,7,6", "3,2,4,2", 'auto_pad = "SAME_LOWER"'),
    ("1,2,7,6", "3,2,3,3", 'auto_pad = "VALID", strides = [3,1]'),
    ("1,2,4,5,6", "3,2,2,3,2", "pads = [1,0,0,0,1,1]"),
]
TRANSPOSED = [
    ("2,3,5", "3,4,3", "strides = [1]"),
    ("2,3,5", "3,4,3", "strides = [3], pads = [1,2], output_padding = [1]"),
    ("1,2,4,3", "2,3,3,2", "strides = [2,1], dilations = [1,2], pads = [1,0,0,1]"),
    ("1,2,4,3", "2,3,3,3", "strides = [2,2], output_shape = [8,6]"),
    ("1,2,4,3", "2,3,3,3", 'auto_pad = "SAME_UPPER", strides = [2,2]'),
]


def layer(op, source, kernel, attributes):
    model = from_text(
        f"{HEAD} g (float[{source}] x) => (float y) <float[{kernel}] w> {{ y = {op} <{attributes}> (x, w) }}"
    )
    node = next(model.nodes())
    return model, Windows.of(node, node.inputs[1].values.shape[2:]), node.inputs[1].values


def computed(windows, x, kernel, outs):
    """The layer's output at every position from gathered patches; `kernel` is [taps, inputs, outputs]."""
    places = np.arange(len(x) * np.prod(outs))
    patches = windows.gather(x, places, outs)
    return np.moveaxis(np.einsum("rkc,kcm->rm", patches, kernel).reshape(len(x), *outs, -1), -1, 1)


@pytest.mark.parametrize(("source", "kernel", "attributes"), CONVS)
def test_patches_of_a_convolution(source, kernel, attributes):
    model, windows, weights = layer("Conv", source, kernel, attributes)
    x = np.random.default_rng(0).standard_normal([int(size) for size in source.split(",")]).astype(np.float32)
    (expected,) = run(model, {"x": x})
    taps = weights.reshape(*weights.shape[:2], -1).transpose(2, 1, 0)
    np.testing.assert_allclose(computed(windows, x, taps, expected.shape[2:]), expected, atol=1e-5)


@pytest.mark.parametrize(("source", "kernel", "attributes"), TRANSPOSED)
def test_patches_of_a_transposed_convolution(source, kernel, attributes):
    model, windows, weights = layer("ConvTranspose", source, kernel, attributes)
    x = np.random.default_rng(0).standard_normal([int(size) for size in source.split(",")]).astype(np.float32)
    (expected,) = run(model, {"x": x})
    taps = weights.reshape(*weights.shape[:2], -1).transpose(2, 0, 1)
    np.testing.assert_allclose(computed(windows, x, taps, expected.shape[2:]), expected, atol=1e-5)


@pytest.mark.parametrize(("source", "kernel", "attributes"), CONVS[:4])
def test_positions_are_where_the_patches_come_from(source, kernel, attributes):
    model, windows, _ = layer("Conv", source, kernel, attributes)
    x = 1 + np.random.default_rng(0).random([int(size) for size in source.split(",")]).astype(np.float32)
    outs = run(model, {"x": x})[0].shape[2:]
    places = np.random.default_rng(1).integers(0, len(x) * np.prod(outs), 20)
    flat, is_zero = windows.positions((len(x), *x.shape[2:]), places, outs)
    by_position = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    expected = np.where(is_zero[..., None], 0, by_position[flat])
    np.testing.assert_array_equal(windows.gather(x, places, outs), expected)
    assert is_zero.any() == ("pads" in attributes)
