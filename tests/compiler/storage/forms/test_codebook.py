from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.storage.forms.choice import written
from onnx_compress.compiler.storage.forms.codebook import CODEBOOK
from onnx_compress.compiler.storage.weight import WeightValues


@pytest.mark.parametrize(
    ("distinct", "opset", "size"), [(16, 21, 320), (16, 13, 640), (17, 21, 640), (256, 11, 640), (257, 21, None)]
)
def test_indices_take_4_or_8_bits(distinct, opset, size):
    weight = WeightValues(np.resize(np.arange(distinct, dtype=np.float32), (16, 40)))
    assert CODEBOOK.least(weight, opset) == size


def test_indices_have_the_shape_of_the_weight():
    weight = WeightValues(np.resize(np.arange(20, dtype=np.float32), (3, 4, 5)))
    program = written(CODEBOOK, weight, "w", "b", 13)
    assert [step.op for step in program.steps] == ["Cast", "Gather"]
    assert {part.name: part.array.shape for part in program.parts} == {"b.c": (20,), "b.i": (3, 4, 5)}
