"""Sums of several layers' inputs from one run, against the inputs themselves."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair import moments
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import specs

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,6,6] x) => (float[N,5] y) <float[4,3,3,3] w, float[4] b, float[4,5] v, int64[4,5] whole>
{ ["conv"] h = Conv (x, w, b) r = Relu (h) p = GlobalAveragePool (r) f = Flatten (p) ["gemm"] y = MatMul (f, v) }"""


def prepared(samples=24):
    model = from_text(TEXT.replace(", int64[4,5] whole", ""))
    x = np.random.default_rng(0).standard_normal((samples, 3, 6, 6)).astype(np.float32)
    return model, x, load({"x": x}, specs(model).inputs)


def layers_of(model, data):
    found, size = moments.recognized(model, [n for n in model.nodes() if n.name], data)
    return {node.name: layer for node, layer in found.items()}, size


def sums(model, layers, data, batch=8):
    done = []
    found = moments.input_sums(model, layers, data, batch, np.random.default_rng(0), lambda: done.append(1))
    return {node.name: equations for node, equations in found.items()}, len(done)


def test_layers_are_recognized_with_the_size_of_what_they_read_and_give():
    model, _, data = prepared()
    layers, size = layers_of(model, data)
    assert all(isinstance(layer, LinearLayer) for layer in layers.values())
    # x, the convolution's output, the pooled features and the output, of one sample, as float32
    assert size == 4 * (3 * 36 + 4 * 16 + 4 + 5)


def test_a_node_that_is_not_a_layer_has_a_reason():
    model, _, data = prepared()
    relu = next(node for node in model.nodes() if node.op == "Relu")
    found, _ = moments.recognized(model, [relu], data)
    assert isinstance(found[relu], str)


def test_sums_are_those_of_the_rows():
    model, x, data = prepared()
    layers, _ = layers_of(model, data)
    found, batches = sums(model, list(layers.values()), data)
    assert batches == 3
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))  # [N, C, 4, 4, 3, 3]
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 27).astype(np.float64)
    gram = found["conv"].gram[0][:27, :27]
    order = np.argsort(np.diag(gram))
    expected = rows.T @ rows
    assert np.diag(gram)[order] == pytest.approx(np.sort(np.diag(expected)), rel=1e-6)
    assert np.linalg.eigvalsh(gram) == pytest.approx(np.linalg.eigvalsh(expected), rel=1e-5)
    assert found["gemm"].gram.shape == (1, 5, 5)


def test_rows_are_sampled_where_there_are_more_than_enough(monkeypatch):
    model, _, data = prepared()
    layers, _ = layers_of(model, data)
    monkeypatch.setattr(moments, "LEAST_ROWS", 60)
    monkeypatch.setattr(moments, "ROWS_TO_CHOOSE", 1)
    found, _ = sums(model, [layers["conv"]], data)
    assert found["conv"].gram[0, -1, -1] == 60  # the last unknown is the shift: its sum counts rows


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], []), ([5], [[0]]), ([4, 4, 4], [[0, 1], [2]]), ([20, 1, 20], [[0], [1], [2]]), ([5, 5, 1], [[0, 1], [2]])],
)
def test_parts_fit_the_memory_where_a_layer_alone_does(sizes, expected, monkeypatch):
    monkeypatch.setattr(moments, "GRAM_BYTES", 10)
    assert moments.parts(sizes) == expected


def test_the_bytes_of_sums():
    model, _, data = prepared()
    layers, _ = layers_of(model, data)
    found, _ = sums(model, list(layers.values()), data)
    assert moments.gram_bytes(layers.values()) == sum(equations.gram.nbytes for equations in found.values())
