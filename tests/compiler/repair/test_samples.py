"""How many samples are used: more where they are small."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair import sample_count
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import specs

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,4] x) => (float[N,WIDTH] y) <float[4,WIDTH] w> { y = MatMul (x, w) }"""


def of(width, samples, least):
    model = from_text(TEXT.replace("WIDTH", str(width)))
    return sample_count(model, load({"x": np.zeros((samples, 4), np.float32)}, specs(model).inputs), least)


def test_all_small_samples_are_used():
    assert of(8, 5000, 100) == 5000


def test_large_samples_are_used_as_requested():
    assert of(1 << 22, 100, 80) == 80


def test_in_between_as_many_as_are_cheap():
    """2^22 floats per sample, one gigabyte in all."""
    assert of(1 << 22, 100, 20) == 64


def test_never_more_than_the_data_hold():
    assert of(8, 10, 100) == 10
