from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np

from onnx_compress.compiler.report import document
from tests.compiler.report.reports import AFTER, EXACT, LOGITS, PRUNE, REMEMBERED, REPORT, ROLLED_BACK

FIGURES = {"bytes", "parameters", "nonzero", "macs", "latency_ms"}


def test_it_has_the_keys_that_it_documents():
    found = json.loads(document.to_json(REPORT))
    assert set(found["input"]) == set(found["output"]) == FIGURES | {"packed_bytes"}
    assert {"name", "before", "after", "samples", "real_data", "stderr"} <= set(found["metric"])
    assert {"max_abs", "cosine", "sqnr_db"} <= set(found["numerics"])
    for item in found["passes"]:
        assert {"name", "options", "changed", "kept", "reason", "skips", "seconds"} | FIGURES <= set(item)
    for key in found:
        assert f"`{key}`" in document.__doc__


def test_values_survive():
    found = json.loads(document.to_json(REPORT))
    assert found["output"]["bytes"] == AFTER.bytes
    assert found["metric"]["drop"] == REPORT.metric.before - REPORT.metric.after
    assert found["numerics"]["max_abs"] == LOGITS.max_abs
    assert found["numerics"]["outputs"]["aux"]["max_abs"] == 0
    assert found["passes"][1]["skips"][4] == {"where": "Conv 'layer4'", "why": "its channels reach the output"}
    assert (found["seed"], found["exit_status"]) == (7, 0)


def test_numbers_that_json_lacks_are_null():
    found = json.loads(document.to_json(replace(REPORT, numerics={"y": EXACT}, metric=None, timing=None)))
    assert found["numerics"]["sqnr_db"] is None
    assert found["metric"] is None
    assert found["timing"] is None
    assert found["passes"][0]["numerics"] is None


def test_numbers_of_numpy_become_plain():
    noted = replace(PRUNE, notes={"a": np.float32(0.5), "b": np.arange(3), "c": (1, math.nan), 4: {"d": np.int64(7)}})
    found = json.loads(document.to_json(replace(REPORT, passes=(noted,))))
    assert found["passes"][0]["notes"] == {"a": 0.5, "b": [0, 1, 2], "c": [1, None], "4": {"d": 7}}


def test_the_same_report_gives_the_same_text():
    assert document.to_json(REPORT) == document.to_json(replace(REPORT))
    assert document.to_json(REPORT).endswith("}\n")


def test_a_rolled_back_pass_is_reported():
    found = document.to_dict(replace(REPORT, passes=(ROLLED_BACK,)))
    assert found["passes"][0]["kept"] is False
    assert found["exit_status"] == 3


def test_remembered_times_are_told():
    assert json.loads(document.to_json(REPORT))["remembered_times"] is None
    found = json.loads(document.to_json(replace(REPORT, remembered_times=REMEMBERED)))
    assert found["remembered_times"] == {"choices": 3, "since": "2025-11-30", "machine": "m", "table": "t.json"}
