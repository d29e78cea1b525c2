from __future__ import annotations

from dataclasses import replace

import pytest

from onnx_compress.compiler.report import verdict
from tests.compiler.report.reports import AFTER, BEFORE, REPORT, SLOWER


def with_output(**changes):
    output = replace(AFTER, **changes)
    timing = replace(REPORT.timing, ratio=(output.latency_ms or 0.0) / BEFORE.latency_ms)
    return replace(REPORT, output=output, timing=timing)


def test_the_summary_says_how_much_smaller_and_faster_and_at_what_loss():
    assert verdict.summary(REPORT) == (
        "small.onnx is 5.1 times smaller and 2.4 times faster than resnet.onnx; "
        "it loses 0.28 points of top1 on 128 held-out samples."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latency_ms": 0.93}, "5.1 times smaller and 89 % SLOWER than resnet.onnx"),
        ({"latency_ms": 1.2}, "5.1 times smaller and 2.4 times SLOWER than"),
        ({"bytes": 1_500_000}, "38 % LARGER and 2.4 times faster than"),
        ({"bytes": 1_080_000, "latency_ms": 0.49}, "small.onnx is about as large and as fast as resnet.onnx"),
        ({"latency_ms": 0.49}, "5.1 times smaller than resnet.onnx, and about as fast"),
        ({"bytes": 1_090_000}, "2.4 times faster than resnet.onnx, and about as large"),
        ({"latency_ms": None}, "small.onnx is 5.1 times smaller than resnet.onnx;"),
        ({"bytes": 763_000}, "30 % smaller and"),
    ],
)
def test_the_summary_in_other_cases(changes, said):
    assert said in verdict.summary(with_output(**changes))


@pytest.mark.parametrize(("latency", "trend"), [(0.93, 1), (0.201, -1), (0.5, 0), (0.48, 0), (0.52, 1), (None, 0)])
def test_a_change_counts_only_beyond_the_noise(latency, trend):
    assert verdict.latency_trend(with_output(latency_ms=latency)) == trend


def test_wide_scatter_hides_a_change():
    noisy = replace(REPORT, timing=replace(REPORT.timing, ratio_spread=0.4))
    assert verdict.latency_trend(noisy) == 0


@pytest.mark.parametrize(
    ("after", "said"),
    [(87.68, "loses nothing of top1"), (88.68, "gains 1.00 point of"), (86.18, "loses 1.50 points of")],
)
def test_the_loss(after, said):
    report = replace(REPORT, metric=replace(REPORT.metric, after=after))
    assert said in verdict.summary(report)


def test_synthetic_inputs_say_nothing_about_accuracy():
    report = replace(REPORT, metric=replace(REPORT.metric, real_data=False))
    assert "the accuracy was not measured: no real data was given" in verdict.summary(report)
    assert "top1" not in verdict.summary(report)


def test_alerts_are_sentences_and_the_slow_layers_are_named():
    report = replace(REPORT, missed=("a target",), warnings=("beware.", "beware."), slower_layers=SLOWER)
    first, second, third = verdict.alerts(report)
    assert (first, second) == ("A target.", "Beware.")
    assert third.startswith("SLOWER than before: conv0 (0.031 ms → 0.052 ms), conv1")
    assert third.endswith("and 2 more layers.")


def test_an_exceeded_budget_is_an_alert():
    report = replace(REPORT, metric=replace(REPORT.metric, after=80.0))
    assert verdict.alerts(report) == ["Loses 7.68 points of top1, MORE than the 1.00 that the budget allows."]
    synthetic = replace(report, metric=replace(report.metric, real_data=False))
    assert verdict.alerts(synthetic) == []


def test_few_samples_come_with_their_error():
    assert verdict.error_bar(REPORT.metric) == "± 0.83 points, from only 128 samples"
    assert verdict.error_bar(replace(REPORT.metric, samples=256)) == ""
    assert verdict.error_bar(replace(REPORT.metric, stderr=None)) == ""


def test_nothing_was_measured():
    bare = replace(REPORT, metric=None, input=replace(BEFORE, latency_ms=None))
    assert verdict.summary(bare) == "small.onnx is 5.1 times smaller than resnet.onnx."
