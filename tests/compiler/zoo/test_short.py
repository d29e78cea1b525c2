"""The short form of the zoo: the main pipelines on models that need no network, compared with the baselines."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_compress.compiler.zoo.check import compare
from onnx_compress.compiler.zoo.locate import locate
from onnx_compress.compiler.zoo.manifest import DEFAULT_PATH, load_manifest
from onnx_compress.compiler.zoo.measure import measure
from onnx_compress.compiler.zoo.trial import OK, PIPELINES, read_trials

BASELINES = read_trials(DEFAULT_PATH.with_name("zoo_baselines.json"))[0]
SHORT = [entry for entry in load_manifest() if entry.short]
MAIN = (
    "load-save",
    "simplify",
    "quantize-weights:matmul=folded",
    "convert-float16",
    "prune:ratio=0.2:round=16,quantize",
)
CPU = Path("/proc/cpuinfo")
HAS_VNNI = CPU.exists() and "vnni" in CPU.read_text()
"""Without it 8-bit products saturate: int8 models compute, lose and keep something else than the baselines' machine."""


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", MAIN)
@pytest.mark.parametrize("entry", SHORT, ids=lambda entry: entry.name)
def test_no_regression(entry, pipeline, tmp_path):
    trial = measure(entry, locate(entry, tmp_path, tmp_path), pipeline, tmp_path)
    assert trial.problems == ()
    if pipeline.endswith(",quantize") and not HAS_VNNI:
        assert trial.status == OK
        return
    unjudged = [entry.name] if entry.structure_only else []
    found = compare([trial], BASELINES, unjudged=unjudged)
    assert [finding.what for finding in found if finding.is_regression] == []


def test_the_baselines_cover_every_model_and_pipeline():
    assert {trial.key for trial in BASELINES} == {(e.name, p) for e in load_manifest() for p in PIPELINES}


def test_the_baselines_keep_the_promises_of_the_zoo():
    assert all(t.status == OK for t in BASELINES if t.pipeline in ("load-save", "simplify"))
    both = [t for t in BASELINES if t.pipeline == "prune:ratio=0.2:round=16,quantize" and t.status == OK]
    kept = [t for t in both if {"prune-channels", "quantize-int8"} <= set(t.kept) and t.macs < 1 and t.bytes < 1]
    assert len(kept) >= 10
