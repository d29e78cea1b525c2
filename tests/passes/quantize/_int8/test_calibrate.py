from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._int8 import calibrate
from onnx_compress.passes.quantize.quantize_int8 import QuantizeInt8
from tests.behaviour import run
from tests.contexts import context

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x) => (float[N,4] y) <float[4,8] w, float[8,4] v> { h = MatMul (x, w) r = Relu (h) y = MatMul (r, v) }"""
X = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)


@pytest.mark.parametrize("held", [1 << 20, 1])
@pytest.mark.parametrize("spread", [False, True])
def test_the_histograms_are_those_of_all_values(held, spread, monkeypatch):
    """Whether or not the activations of a batch fit in memory together."""
    monkeypatch.setattr(calibrate, "HELD", held)
    model = from_text(TEXT)
    seen = calibrate.observe(model, ["h", "r", "y"], context(QuantizeInt8(), model, data={"x": X}), spread=spread)
    h = X @ next(c.values for c in model.constants() if c.name == "w")
    expected = {"h": h, "r": np.maximum(h, 0), "y": run(model, {"x": X})[0]}
    for name, values in expected.items():
        assert seen[name].count == values.size
        assert (seen[name].low, seen[name].high) == pytest.approx((values.min(), values.max()), rel=1e-5)
        assert seen[name].counts.sum() == (values.size if spread else 0)


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ({}, []),
        ({"a": 4, "b": 4, "c": 4}, [["a", "b"], ["c"]]),
        ({"a": 50, "b": 1, "c": 9, "d": 50}, [["a"], ["b", "c"], ["d"]]),
    ],
)
def test_groups_fit_the_memory_where_a_value_alone_does(sizes, groups, monkeypatch):
    monkeypatch.setattr(calibrate, "HELD", 10)
    assert calibrate._groups(sizes) == groups
