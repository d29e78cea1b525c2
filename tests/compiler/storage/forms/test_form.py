from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.forms.form import write_shaped
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues


@pytest.mark.parametrize(("count", "nodes"), [(6, ["Reshape"]), (8, ["Reshape", "Slice", "Reshape"])])
def test_padding_is_cut_and_the_shape_restored(count, nodes):
    build = Builder("b", 17)
    rows = build.part("v", np.arange(float(count)).reshape(2, -1))
    write_shaped(build, rows, count, WeightValues(np.zeros((3, 2))), "w")
    program = build.program("x", "w")
    assert [step.op for step in program.steps] == nodes
    assert interpret.run(program)["w"].tolist() == [[0, 1], [2, 3], [4, 5]]
