"""Running in separate processes: a limit ends one pipeline, and the others continue."""

from __future__ import annotations

import dataclasses
import multiprocessing

import pytest

from onnx_compress.compiler.errors import UsageError, UserError
from onnx_compress.compiler.zoo.manifest import load_manifest
from onnx_compress.compiler.zoo.run import Limits, run
from onnx_compress.compiler.zoo.trial import FAILED, IDENTITY, OK, TIMEOUT

DIGITS = [entry for entry in load_manifest() if entry.name == "digits"]


def test_a_trial_is_returned_from_its_process(tmp_path):
    (trial,) = run(DIGITS, tmp_path, pipelines=[IDENTITY])
    assert (trial.model, trial.pipeline, trial.status, trial.problems) == ("digits", IDENTITY, OK, ())


def test_a_pipeline_that_takes_too_long_is_ended_and_the_next_one_starts(tmp_path):
    trials = list(run(DIGITS, tmp_path, pipelines=[IDENTITY, "simplify"], limits=Limits(seconds=0.01)))
    assert [(t.pipeline, t.status) for t in trials] == [(IDENTITY, TIMEOUT), ("simplify", TIMEOUT)]
    assert trials[0].problems == ("not done after 0.01 s",)


def test_a_process_that_dies_is_a_failed_trial(tmp_path):
    trials = run(DIGITS, tmp_path, pipelines=[IDENTITY, "quantize"])
    assert next(trials).status == OK
    for process in multiprocessing.active_children():
        process.kill()
    (trial,) = trials
    assert (trial.pipeline, trial.status) == ("quantize", FAILED)
    assert trial.problems == ("the process died with exit code -9",)


def test_memory_is_limited(tmp_path):
    (trial,) = run(DIGITS, tmp_path, pipelines=["quantize"], limits=Limits(memory=1 << 20))
    assert trial.status == FAILED


def test_a_mistyped_pipeline_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match="no pass is called 'prunne'"):
        list(run(DIGITS, tmp_path, pipelines=["prunne"]))


@pytest.mark.slow
def test_several_models_run_at_once(tmp_path):
    twice = [DIGITS[0], dataclasses.replace(DIGITS[0], name="again")]
    trials = run(twice, tmp_path, pipelines=[IDENTITY, "simplify"], jobs=2)
    first = next(trials)
    assert len(multiprocessing.active_children()) == 2
    rest = list(trials)
    assert [trial.latency for trial in rest if trial.pipeline == "simplify"] == [None, None], "each slows the other"
    found = {(trial.model, trial.pipeline): trial.status for trial in (first, *rest)}
    assert found == {(name, pipeline): OK for name in ("digits", "again") for pipeline in (IDENTITY, "simplify")}


def test_an_abandoned_run_leaves_no_process_behind(tmp_path):
    trials = run(DIGITS, tmp_path, pipelines=[IDENTITY, "quantize"])
    next(trials)
    trials.close()
    assert multiprocessing.active_children() == []


def test_a_missing_model_ends_the_run(tmp_path):
    missing = [entry for entry in load_manifest() if entry.name == "open-nsfw"]
    with pytest.raises(UserError, match="open-nsfw"):
        list(run(missing, tmp_path, pipelines=[IDENTITY]))
