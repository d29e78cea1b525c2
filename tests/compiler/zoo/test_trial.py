from __future__ import annotations

import json

import pytest

from onnx_compress.compiler.errors import OutputError, UsageError
from onnx_compress.compiler.zoo.trial import Trial, read_trials, write_trials

FULL = Trial(
    model="m", pipeline="prune,quantize", status="failed", problems=("a", "b"), kept=("prune",), rolled_back=("x",),
    bytes=0.5, macs=0.25, latency=None, error=0.0, seconds=3.5,
)  # fmt: skip
SHORT = Trial(model="m", pipeline="simplify", status="ok")


def test_trials_come_back_one_a_line(tmp_path):
    path = tmp_path / "t.json"
    write_trials(path, [FULL, SHORT], {"cpu": "c", "a": "b"})
    assert read_trials(path) == ([FULL, SHORT], {"cpu": "c", "a": "b"})
    lines = path.read_text().splitlines()
    assert len(lines) == 8
    assert json.loads(lines[5]) == {"model": "m", "pipeline": "simplify", "status": "ok"}, "defaults are left out"


def test_a_trial_has_an_identity_and_a_time():
    assert FULL.key == ("m", "prune,quantize")
    assert SHORT.after(1.26) == Trial(model="m", pipeline="simplify", status="ok", seconds=1.3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"trials": 3}', '{"trials": [3]}'])
def test_another_file_is_refused(text, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"not .*trials? of a zoo run"):
        read_trials(path)


def test_another_record_is_named():
    with pytest.raises(UsageError, match=r"not a trial of a zoo run: .*'?model"):
        Trial.from_json({"model": "m", "odd": 1})


def test_a_place_that_can_not_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="can't be written"):
        write_trials(tmp_path / "absent" / "t.json", [SHORT], {})
    with pytest.raises(UsageError, match="there is no such file"):
        read_trials(tmp_path / "absent.json")
