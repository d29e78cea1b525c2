from __future__ import annotations

import pytest

from onnx_compress.compiler.report import quantities as q


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (1_090_000, "1.09 MB"), (99_960, "100 kB"), (999_600, "1.00 MB"),
     (2_500_000_000, "2.50 GB"), (12_345, "12.3 kB"), (None, "–")],
)  # fmt: skip
def test_size(bytes_, text):
    assert q.size(bytes_) == text


@pytest.mark.parametrize(
    ("count", "exact", "short"),
    [(0, "0", "0"), (269_036, "269,036", "269 k"), (40_812_544, "40.8 M", "40.8 M"), (None, "–", "–")],
)
def test_counts(count, exact, short):
    assert (q.amount(count), q.short(count)) == (exact, short)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0312, "0.031 ms"), (0.4912, "0.491 ms"), (1.234, "1.23 ms"), (12.34, "12.3 ms"),
                        (123.4, "123 ms"), (1234, "1.23 s"), (None, "–")]
)  # fmt: skip
def test_milliseconds(value, text):
    assert q.milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.31, "0.3 s"), (12.4, "12 s"), (61.2, "1 min 1 s"), (3601, "60 min 1 s")]
)
def test_seconds(value, text):
    assert q.seconds(value) == text


@pytest.mark.parametrize(
    ("before", "after", "text"), [(4, 1, "0.25×"), (0, 1, "–"), (None, 1, "–"), (4, None, "–"), (4, 0, "0.00×")]
)
def test_ratio(before, after, text):
    assert q.ratio(before, after) == text


@pytest.mark.parametrize(("value", "text"), [(0.28, "+0.28"), (-0.28, "−0.28"), (-0.001, "0.00"), (0.0, "0.00")])
def test_points(value, text):
    assert q.points(value, signed=True) == text


def test_only_shares_of_the_samples_are_percentages():
    assert q.metric("top1", 87.68) == "87.68 %"
    assert q.metric("cosine", 99.7) == "99.70"
    assert q.metric("mine:score", None) == "–"
