from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.forms import nonzeros
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues

FEW = WeightValues(np.resize(np.float32([0, 3, -1]), 900))
MANY = WeightValues(np.arange(900, dtype=np.float32))


def test_few_values_are_indices_and_many_are_plain():
    assert nonzeros.packing(FEW, 600, 17) is not None
    assert nonzeros.packing(MANY, 600, 17) is None
    assert nonzeros.packing(FEW, 10, 17) is None, "nodes would take more than they save"


def test_the_bytes_of_values():
    packing = nonzeros.packing(FEW, 600, 17)
    assert nonzeros.least_bytes(FEW, 600, 17) == packing.nbytes(600) + 3 * 4
    assert nonzeros.least_bytes(MANY, 600, 17) == 600 * 4


@pytest.mark.parametrize("weight", [FEW, MANY], ids=["few", "many"])
def test_fillers_are_zero(weight):
    at = np.concatenate([[-1, 5], np.arange(300), [-1]])
    build = Builder("b", 17)
    name = nonzeros.write_values(build, weight, at, nonzeros.packing(weight, len(at), 17))
    values = interpret.run(build.program("x", name))[name][: len(at)]
    expected = np.where(at < 0, 0, weight.flat[weight.positions][at])
    assert np.array_equal(values, expected)
