"""How many samples are taken: more where they are small."""

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


def test_of_small_samples_all_are_taken():
    assert of(8, 5000, 100) == 5000


def test_of_large_samples_as_many_as_asked_for():
    assert of(1 << 22, 100, 80) == 80


def test_between_them_what_is_cheap():
    """2^22 floats a sample, of a gigabyte."""
    assert of(1 << 22, 100, 20) == 64


def test_no_more_than_there_are():
    assert of(8, 10, 100) == 10
