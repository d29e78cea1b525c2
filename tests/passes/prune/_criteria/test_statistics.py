from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune._criteria import statistics
from onnx_compress.passes.prune._criteria.statistics import measure, summed_axis, values_of
from onnx_compress.passes.prune.prune_channels import PruneChannels
from tests.contexts import context

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
CONV = """g (float[N,3,5,5] x) => (float[N,4,5,5] y) <float[4,3,1,1] w, float[4] b>
{ h = Conv (x, w, b) y = Relu (h) }"""


def measured(data, axes=None):
    model = from_text(HEAD + CONV)
    return measure(model, axes or {"x": 1, "y": 1}, context(PruneChannels(), model, data={"x": data})), model


def test_means_and_variances_are_over_samples_and_positions():
    data = np.random.default_rng(0).standard_normal((20, 3, 5, 5)).astype(np.float32) * 2 + 1
    found, _ = measured(data)
    rows = np.moveaxis(data, 1, -1).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found["x"].mean, rows.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found["x"].variance, rows.var(0), rtol=1e-9)
    assert found["y"].mean.shape == (4,)
    assert not found["x"].is_constant.any()


def test_another_axis():
    data = np.random.default_rng(0).standard_normal((20, 3, 5, 5)).astype(np.float32)
    found, _ = measured(data, {"x": -1})
    np.testing.assert_allclose(found["x"].mean, data.astype(np.float64).mean((0, 1, 2)), rtol=1e-9)


def test_a_channel_of_one_value_is_constant_and_rounding_does_not_hide_it():
    data = np.random.default_rng(0).standard_normal((20, 3, 5, 5)).astype(np.float32)
    data[:, 1] = np.float32(1e4 / 3)
    data[:, 2] = 0
    found, _ = measured(data)
    assert found["x"].is_constant.tolist() == [False, True, True]


def test_no_more_samples_than_needed(monkeypatch):
    monkeypatch.setattr(statistics, "SAMPLES", 7)
    seen = []
    data = np.random.default_rng(0).standard_normal((20, 3, 5, 5)).astype(np.float32)
    inner = statistics.Capture.batches
    monkeypatch.setattr(statistics.Capture, "batches", lambda self, d, n: seen.append(len(d)) or inner(self, d, n))
    measured(data)
    assert seen == [7]
    assert measured(data, None)[0].keys() == {"x", "y"}


def test_nothing_to_measure_runs_nothing():
    model = from_text(HEAD + CONV)
    assert measure(model, {}, None) == {}


@pytest.mark.parametrize(
    ("expression", "slot", "expected"),
    [
        ("Conv (x, w)", 1, ("x", 1)),
        ("ConvTranspose (x, w)", 1, ("x", 1)),
        ("Gemm (x, w)", 1, ("x", 1)),
        ("Gemm <transA = 1> (x, w)", 1, ("x", 0)),
        ("MatMul (x, w)", 1, ("x", -1)),
        ("MatMul (w, x)", 0, ("x", -2)),
        ("LSTM <hidden_size = 4> (x, w, w)", 1, ("x", 2)),
        ("Add (x, w)", 1, None),
        ("Conv (x, w)", 0, None),
    ],
)
def test_what_a_weight_is_multiplied_by(expression, slot, expected):
    node = next(from_text(f"{HEAD} g (float x) => (float y) <float[4,4] w> {{ y = {expression} }}").nodes())
    found = summed_axis(node, slot)
    assert (found and (found[0].name, found[1])) == expected


def test_values_of_the_main_graph_can_be_measured():
    assert values_of(from_text(HEAD + CONV)) == {"x", "h", "y"}
