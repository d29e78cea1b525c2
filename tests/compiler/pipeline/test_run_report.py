from __future__ import annotations

from dataclasses import replace

import pytest

from onnx_compress.compiler.pipeline.run_report import MetricChange, PassReport
from tests.compiler.report.reports import EXACT, LOGITS, REPORT, ROLLED_BACK


def test_everything_done_is_0():
    assert REPORT.exit_status == 0


@pytest.mark.parametrize(
    "change", [{"passes": (*REPORT.passes, ROLLED_BACK)}, {"missed": ("prune: 10 % of 30 %",)}], ids=["pass", "target"]
)
def test_a_pass_rolled_back_or_a_missed_target_is_3(change):
    assert replace(REPORT, **change).exit_status == 3


def test_a_pass_that_changed_nothing_is_not_a_failure():
    idle = PassReport(name="simplify", options={}, changed=0, kept=True)
    assert replace(REPORT, passes=(idle,)).exit_status == 0


def test_the_worst_output_is_the_one_of_largest_error():
    assert REPORT.worst is LOGITS
    assert replace(REPORT, numerics={"y": EXACT}).worst is EXACT
    assert replace(REPORT, numerics={}).worst is None


def test_a_gain_is_a_negative_drop():
    change = MetricChange(name="top1", before=90.0, after=91.5, samples=10, real_data=True)
    assert change.drop == -1.5
