from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.pipeline import summary
from onnx_compress.compiler.pipeline.held_out import HeldOut
from onnx_compress.compiler.pipeline.run_report import PassReport, Report
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.pipeline.summary import figures_of, summarize
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import specs
from tests.compiler.pipeline.passes_for_tests import classifier, labelled


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def halved(model):
    """A copy with its first weight halved."""
    twin = model.clone()
    weight = next(c for c in twin.constants() if c.values.ndim == 2)
    edit.replace_values(twin, weight, weight.values * np.float32(0.5))
    return twin


def judge_of(model, settings=None) -> HeldOut:
    return HeldOut.of(model, load(labelled(64), specs(model).inputs), settings or Settings())


def summarized(settings=None) -> tuple[Report, HeldOut]:
    settings = settings or Settings()
    model = classifier()
    judge, after = judge_of(model, settings), halved(model)
    records = [
        PassReport(name="simplify", options={}, changed=0, kept=True),
        PassReport(name="halve", options={}, changed=1, kept=True, missed=("half of a half",)),
    ]
    return summarize(records, [model, after], after, judge, settings, "halve"), judge


def test_states_are_measured_where_something_changed(cache):
    report, judge = summarized()
    idle, changed = report.passes
    assert (idle.figures, idle.metric_after) == (None, None)
    assert changed.figures is not None
    assert changed.metric_after == pytest.approx(judge.score(halved(judge.original))[0].value)
    assert changed.numerics is not None
    assert changed.numerics.cosine < 1


def test_the_report_compares_first_and_last(cache):
    report, judge = summarized(Settings(max_drop=3.0))
    assert report.input.parameters == report.output.parameters == figures_of(judge.original, None, judge).parameters
    assert report.metric is not None
    assert (report.metric.name, report.metric.max_drop, report.metric.samples) == (judge.name, 3.0, len(judge.data))
    assert report.timing is not None
    assert report.timing.ratio > 0
    assert (report.timing.threads, report.timing.batch) == (1, 1)
    assert report.missed == ("halve: half of a half",)
    assert report.spec == "halve"


def test_large_models_are_not_packed(cache, monkeypatch):
    assert summarized()[0].output.packed_bytes is not None
    monkeypatch.setattr(summary, "MOST_PACKED", 10)
    assert summarized()[0].output.packed_bytes is None


def test_an_original_that_is_nearly_always_right_is_a_warning(cache, monkeypatch):
    assert any("trained on them" in warning for warning in summarized()[0].warnings)
    monkeypatch.setattr(summary, "NEARLY_ALL", 100.5)
    assert not any("trained on them" in warning for warning in summarized()[0].warnings)
