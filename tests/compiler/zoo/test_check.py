"""Regressions from the baselines: what fails, what is only reported, and what is within tolerance."""

from __future__ import annotations

import dataclasses

import pytest

from onnx_compress.compiler.errors import OutputError, UsageError
from onnx_compress.compiler.zoo.check import compare, machine, updated
from onnx_compress.compiler.zoo.trial import Trial, read_trials, write_trials

BASE = Trial(
    model="net", pipeline="prune,quantize", status="ok", kept=("simplify", "prune-channels", "quantize-int8"),
    bytes=0.25, macs=0.8, latency=0.5, error=0.001,
)  # fmt: skip


def found(judged=True, **changes):
    new = dataclasses.replace(BASE, **changes)
    return [(f.what, f.is_regression) for f in compare([new], [BASE], unjudged=() if judged else ("net",))]


def test_the_same_trial_and_small_changes_give_no_finding():
    assert found() == []
    assert found(bytes=0.254, macs=0.812, error=0.0014, latency=0.9, seconds=100) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bytes": 0.256}, "bytes 0.256, was 0.25"),
        ({"macs": 0.82}, "MACs 0.82, was 0.8"),
        ({"error": 0.0016}, "error 0.0016, was 0.001"),
        ({"macs": None}, "MACs can no longer be measured, was 0.8"),
        ({"kept": ("simplify", "quantize-int8")}, "prune-channels is no longer kept"),
        ({"status": "failed", "problems": ("no such node",)}, "failed: no such node"),
    ],
)
def test_a_deterioration_is_a_regression(change, what):
    assert found(**change) == [(what, True)]


def test_an_improvement_is_reported_and_does_not_fail():
    assert found(bytes=0.2, error=0.0005) == [("bytes 0.2, was 0.25", False), ("error 0.0005, was 0.001", False)]
    failed = dataclasses.replace(BASE, status="timeout", problems=("over 60 s",))
    assert [f.is_regression for f in compare([BASE], [failed])] == [False]
    assert [(f.what, f.is_regression) for f in compare([failed], [failed])] == [
        ("timeout (as in the baselines): over 60 s", False)
    ]


def test_numerics_of_random_weights_are_not_judged():
    assert found(judged=False, error=0.9) == []


def test_a_trial_without_a_baseline_fails_and_an_unused_baseline_does_not():
    other = dataclasses.replace(BASE, model="other")
    assert [(f.model, f.is_regression) for f in compare([other], [BASE])] == [("other", True)]


def test_latency_is_judged_as_a_mean_and_on_the_same_machine_only():
    nets = [dataclasses.replace(BASE, model=f"net{i}") for i in range(4)]
    one_slow = [dataclasses.replace(nets[0], latency=0.6), *nets[1:]]
    all_slow = [dataclasses.replace(net, latency=0.56) for net in nets]
    assert compare(one_slow, nets, same_machine=True) == []
    assert compare(all_slow, nets) == []
    (finding,) = compare(all_slow, nets, same_machine=True)
    assert finding.is_regression
    assert "1.12 times" in finding.what


def test_baselines_survive_the_file_and_take_one_line_each(tmp_path):
    path = tmp_path / "baselines.json"
    trials = [BASE, Trial(model="b", pipeline="simplify", status="failed", problems=("a", "b"))]
    write_trials(path, trials, {"machine": machine()})
    assert read_trials(path) == (trials, {"machine": machine()})
    assert len(path.read_text().splitlines()) == len(trials) + 5


def test_a_file_without_baselines_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "b.json").write_text('{"trials": [{"modell": 1}]}')
    for name in ("a.json", "b.json", "none.json"):
        with pytest.raises(UsageError):
            read_trials(tmp_path / name)
    with pytest.raises(OutputError, match="can't be written"):
        write_trials(tmp_path / "no" / "folder.json", [BASE], {})


def test_an_update_replaces_results_and_drops_removed_models():
    old = [dataclasses.replace(BASE, model=name) for name in ("b", "gone", "a")]
    new = dataclasses.replace(BASE, model="b", bytes=0.1, seconds=3)
    assert updated(old, [new], ["a", "b"]) == [old[2], dataclasses.replace(new, seconds=0)]
