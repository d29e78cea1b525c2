from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

import onnx_compress
from onnx_compress.compiler.errors import DataError, ModelError, OutputError
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.runtime.timing.latency_table import machine
from tests.compiler.pipeline.passes_for_tests import classifier, labelled


@pytest.fixture(autouse=True)
def _own_latency_table(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_model_goes_through_from_file_to_file(tmp_path):
    classifier().save(tmp_path / "in.onnx")
    np.savez(tmp_path / "data.npz", **labelled())
    result = onnx_compress.compress(tmp_path / "in.onnx", "simplify", data=tmp_path / "data.npz")
    result.save(tmp_path / "out.onnx")
    x = labelled(3)["x"]
    before = onnx_compress.session(tmp_path / "in.onnx").run({"x": x})
    after = onnx_compress.session(onnx_compress.load(tmp_path / "out.onnx")).run({"x": x})
    np.testing.assert_allclose(after["y"], before["y"], rtol=1e-6)
    with pytest.raises(OutputError, match="exists"):
        result.save(tmp_path / "out.onnx")


def test_without_data_the_report_says_so():
    report = onnx_compress.compress(classifier(), "simplify").report
    assert not report.metric.real_data
    assert any("not measured on real data" in warning for warning in report.warnings)


def test_evaluation_data_need_calibration_data():
    with pytest.raises(DataError, match="without calibration data"):
        onnx_compress.compress(classifier(), "simplify", eval_data=labelled())


def test_evaluation_data_are_what_is_measured_on():
    report = onnx_compress.compress(classifier(), "simplify", data=labelled(), eval_data=labelled(77, 2)).report
    assert report.metric.samples == 77


def test_the_metric_can_be_chosen():
    report = onnx_compress.compress(
        classifier(), "simplify", data=labelled(), settings=Settings(metric="cosine")
    ).report
    assert report.metric.name == "cosine"


def test_a_file_that_is_not_a_model_is_one_clear_line(tmp_path):
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ModelError) as caught:
        onnx_compress.compress(tmp_path / "text.onnx", "simplify")
    assert "\n" not in str(caught.value)


def test_unknown_names_are_told_what_there_is():
    with pytest.raises(AttributeError, match="it has Result, Settings, compress, load, session"):
        onnx_compress.no_such_name  # noqa: B018
    assert {"compress", "load"} <= set(dir(onnx_compress))


def test_labels_of_one_class_are_refused():
    one_class = labelled()
    one_class["labels"][:] = 2
    with pytest.raises(DataError, match="all 100 held-out samples have the label 2"):
        onnx_compress.compress(classifier(), "simplify", data=one_class)


@pytest.mark.parametrize(("classes", "metric", "is_said"), [(4, None, False), (40, None, True), (40, "cosine", False)])
def test_labels_that_fit_no_output_are_not_passed_over_in_silence(classes, metric, is_said):
    data = {**labelled(), "labels": np.arange(len(labelled()["labels"])) % classes}
    report = onnx_compress.compress(
        classifier(), "simplify", data=data, settings=onnx_compress.Settings(metric=metric)
    ).report
    assert any("labels were not used" in warning for warning in report.warnings) == is_said


@pytest.mark.parametrize("wrong", [0, 4])
def test_samples_that_the_original_gets_all_right_may_be_those_it_was_trained_on(wrong):
    data = labelled()
    data["labels"][::2][: 50 * wrong] += 1
    data["labels"] %= 4
    report = onnx_compress.compress(classifier(), "simplify", data=data).report
    assert any("not seen" in warning for warning in report.warnings) == (wrong == 0)


def test_choices_by_remembered_times_are_reported(tmp_path):
    model = from_text("""<ir_version: 10, opset_import: ["" : 21]>
        g (float[N,64] x) => (float[N,64] y) <float[64,64] w> { y = MatMul (x, w) }""")
    data, path = {"x": np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)}, tmp_path / "t.json"
    reports = [
        onnx_compress.compress(model, "quantize-weights", data=data, settings=Settings(latency_table=path)).report
        for _ in range(2)
    ]
    assert reports[0].remembered_times is None
    told = reports[1].remembered_times
    assert (told.choices, told.table, told.machine) == (1, str(path), machine())
    assert date.today() - date.fromisoformat(told.since) <= timedelta(1)
