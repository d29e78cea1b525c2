from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.shapes import observed

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,3,8,8] x, bool flag) => (float[N,4,8,8] y) <float[4,3,1,1] w>
{ h = Conv (x, w) s = Shape (h)
  k = If (flag) < then_branch = t () => (float a) { a = Relu (h) }, else_branch = e () => (float b) { b = Neg (h) } >
  y = Relu (k) }"""


def test_types_and_shapes_of_one_sample():
    found = {name: (dtype, shape) for name, dtype, shape in observed.observe(from_text(TEXT), ["h", "s", "y"])}
    assert found == {
        "h": (np.dtype(np.float32), (1, 4, 8, 8)),
        "s": (np.dtype(np.int64), (4,)),
        "y": (np.dtype(np.float32), (1, 4, 8, 8)),
    }


def test_values_outside_the_main_graph_are_left_out():
    assert not list(observed.observe(from_text(TEXT), ["a", "w", "nothing"]))


def test_few_values_are_in_memory_at_a_time(monkeypatch):
    monkeypatch.setattr(observed, "TOGETHER", 1)
    assert [name for name, _, _ in observed.observe(from_text(TEXT), ["h", "k", "y"])] == ["h", "k", "y"]
