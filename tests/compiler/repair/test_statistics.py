from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair.statistics import Moments, Normalization

MODEL = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,3] x) => (float[N,3] y) <float[3] g, float[3] b, float[3] m, float[3] v>
{ y = BatchNormalization <epsilon = 0.001> (x, g, b, m, v) }"""


def normalization():
    return Normalization.of(from_text(MODEL).graph.nodes[0])


def summed(x, y):
    moments = Moments.zeros(3)
    for rows in zip(np.array_split(x, 3), np.array_split(y, 3)):
        moments.add(*rows)
    return moments


def normalized(values, mean, square):
    return (values - mean) / np.sqrt(square)


def test_the_output_gets_the_mean_and_spread_it_had():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((500, 3)) * [1, 2, 3] + [4, 5, 6]
    x = rng.standard_normal((500, 3)) * [3, 1, 2] - 1
    norm = normalization()
    now, then = normalized(x, *norm.estimated(summed(x, y))), normalized(y, *norm.statistics())
    np.testing.assert_allclose(now.mean(0), then.mean(0), rtol=1e-9)
    np.testing.assert_allclose(now.std(0), then.std(0), rtol=1e-9)


def test_on_the_data_of_the_statistics_they_are_mean_and_variance():
    rng = np.random.default_rng(0)
    norm = normalization()
    mean, square = norm.statistics()
    y = rng.standard_normal((500, 3))
    y = (y - y.mean(0)) / y.std(0) * np.sqrt(square) + mean
    x = rng.standard_normal((500, 3)) * 2 + 1
    estimated = norm.estimated(summed(x, y))
    np.testing.assert_allclose(estimated[0], x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(estimated[1], x.var(0), rtol=1e-9)


def test_the_error_is_that_of_the_rows():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 200, 3))
    norm, mean, square = normalization(), np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 0.5])
    expected = np.square(normalized(x, mean, square) - normalized(y, *norm.statistics())).sum()
    assert norm.errors(summed(x, y), mean, square) == pytest.approx(expected, rel=1e-9)


def test_a_constant_channel_keeps_its_spread():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((100, 3))
    x = y.copy()
    x[:, 1] = 7
    norm = normalization()
    mean, square = norm.estimated(summed(x, y))
    assert square[1] == norm.statistics()[1][1]
    assert np.isfinite(mean).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("epsilon = 0.001", "epsilon = 0.001, training_mode = 1"), "statistics of each batch"),
        (("(x, g, b, m, v)", "(x, g, b, k, v)"), "computed"),
    ],
    ids=["training", "computed"],
)
def test_other_normalizations_are_refused(change, reason):
    text = MODEL.replace(*change).replace("{ y", "{ k = Abs (m) z = Add (k, x) y")
    found = Normalization.of(next(n for n in from_text(text).graph.nodes if n.op == "BatchNormalization"))
    assert isinstance(found, str)
    assert reason in found
