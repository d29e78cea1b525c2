from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.runtime.metrics.score import Score, drop, standard_error


def test_the_error_of_a_drop_is_that_of_the_pairs() -> None:
    rng = np.random.default_rng(0)
    hits = 100.0 * (rng.random(200) < 0.8)
    fewer = hits.copy()
    fewer[:3] = 0
    before, after = (Score("top1", float(np.mean(e)), 200, standard_error(e), e) for e in (hits, fewer))
    lost = drop(before, after)
    assert lost.points == pytest.approx(before.value - after.value)
    assert lost.error == pytest.approx(standard_error(hits - fewer))
    assert before.error is not None
    assert lost.error < before.error / 2  # type: ignore[operator]


def test_the_error_is_shown_only_for_few_samples() -> None:
    assert str(Score("top1", 87.5, 255, 2.071)) == "87.50 ± 2.07"
    assert str(Score("top1", 87.5, 256, 2.071)) == "87.50"
    assert standard_error(np.ones(1)) is None


def test_scores_without_points_of_each_sample_have_the_error_of_the_new_one() -> None:
    lost = drop(Score("f1", 90, 100), Score("f1", 88.5, 100, 0.25))
    assert (lost.points, lost.error) == (1.5, 0.25)


def test_the_standard_error_is_that_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((2000, 25))
    errors = [standard_error(row) for row in draws]
    assert np.mean(errors) == pytest.approx(np.std(draws.mean(1)), rel=0.05)  # type: ignore[arg-type]
