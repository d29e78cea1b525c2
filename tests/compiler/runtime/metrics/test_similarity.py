from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_compress.compiler.runtime.metrics.metric import choose
from tests.compiler.runtime.metrics.scored import measured


def test_cosine_is_over_all_samples_and_averaged_over_outputs() -> None:
    original = {"a": np.array([[3.0], [0], [0], [4]], np.float32), "b": np.ones((4, 2), np.float32)}
    other = {"a": np.array([[0.0], [0], [0], [4]], np.float32), "b": np.ones((4, 2), np.float32)}
    score = measured(None, other, original)
    assert score.name == "cosine"
    assert score.value == pytest.approx(100 * (16 / (5 * 4) + 1) / 2)
    assert measured("cosine", original, original).value == pytest.approx(100)


def test_cosine_of_outputs_that_are_missing_misshapen_or_nan() -> None:
    original = {"a": np.ones((4, 2), np.float32)}
    assert measured("cosine", {}, original).value == 0
    assert measured("cosine", {"a": np.ones((4, 3), np.float32)}, original).value == 0
    half = np.ones((4, 2), np.float32)
    half[:2] = math.nan
    assert measured("cosine", {"a": half}, original).value == pytest.approx(100 / math.sqrt(2))


def test_cosine_of_integers_is_the_share_of_equal_ones() -> None:
    original = {"n": np.arange(8).reshape(4, 2)}
    assert measured("cosine", {"n": original["n"] % 6}, original).value == pytest.approx(75)


def test_the_jackknife_error_of_the_cosine_is_that_of_repeated_draws() -> None:
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(300):
        x = rng.standard_normal((40, 5))
        metric = choose("cosine", {"y": x}, 40, None)
        tally = metric.start()
        tally.add({"y": x + 0.7 * rng.standard_normal(x.shape)}, 40, None, {"y": x})
        score = tally.score()
        values.append(score.value)
        errors.append(score.error)
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.06)
