"""The zoo's command line: what it writes, and its exit statuses."""

from __future__ import annotations

import json

import pytest

from onnx_compress.compiler.cli.main import main

RUN = ["digits", "--short", "-p", "load-save", "-p", "convert-float16"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of one run, shared by the tests."""
    path = tmp_path_factory.mktemp("zoo") / "results.json"
    assert main(["zoo", "run", *RUN, "--json", str(path)]) == 0
    return path


def baselines(results, path, **changes):
    """The results as baselines, the second one with changes."""
    document = json.loads(results.read_text())
    document["trials"][1].update(changes)
    path.write_text(json.dumps(document))
    return path


def test_results_hold_the_outcome_of_each_pipeline(results):
    trials = json.loads(results.read_text())["trials"]
    assert [(t["pipeline"], t["status"]) for t in trials] == [("load-save", "ok"), ("convert-float16", "ok")]
    assert trials[1]["bytes"] < 0.5


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({}, 0, "no regression in 2 results"),
        ({"bytes": 0.3}, 3, "was 0.3"),
        ({"kept": ["x"]}, 3, "x is no longer kept"),
    ],
)
def test_a_check_ends_with_3_on_a_regression(results, tmp_path, capsys, changes, status, said):
    known = baselines(results, tmp_path / "known.json", **changes)
    assert main(["zoo", "check", "digits", "--results", str(results), "--baselines", str(known)]) == status
    assert said in capsys.readouterr().out


def test_an_update_writes_the_baselines(results, tmp_path):
    known = baselines(results, tmp_path / "known.json", bytes=0.3)
    check = ["zoo", "check", "digits", "--results", str(results), "--baselines"]
    assert main([*check, str(known), "--update"]) == 0
    assert main([*check, str(known)]) == 0
    assert main([*check, str(tmp_path / "new.json"), "--update"]) == 0
    assert known.read_text() == (tmp_path / "new.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "no-such-model"], "no model of the zoo matches 'no-such-model'"),
        (["run", "digits", "-p", "prunne"], "no pass is called 'prunne'"),
        (["check", "--baselines", "none.json"], "there is no such file; make it with zoo check --update"),
        (["check", "--update", "--jobs", "2"], "run one model at a time"),
        (["fetch", "--manifest", "none.toml"], "no such manifest"),
    ],
)
def test_mistakes_are_one_line_and_2(capsys, arguments, said):
    assert main(["zoo", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_models_that_are_not_fetched_are_named(tmp_path, capsys):
    assert main(["zoo", "run", "magika", "--cache", str(tmp_path), "-p", "simplify"]) == 2
    assert "fetch it first" in capsys.readouterr().err
