from __future__ import annotations

from dataclasses import replace

import pytest

from onnx_compress.compiler.report.rows import (
    LONGEST_NOTE,
    NoteTable,
    changes,
    comparison,
    notes_of,
    outcome,
    settings_of,
    tables_of,
)
from tests.compiler.report.reports import AFTER, PRUNE, REPORT, ROLLED_BACK


def row(report, label):
    return next(one for one in comparison(report) if one.label == label)


def test_gains_are_green_and_losses_red():
    assert (row(REPORT, "file size").change, row(REPORT, "file size").style) == ("0.19×", "green")
    larger = replace(REPORT, output=replace(AFTER, bytes=REPORT.input.bytes * 2))
    assert (row(larger, "file size").change, row(larger, "file size").style) == ("2.00×", "red")
    same = replace(REPORT, output=replace(AFTER, bytes=REPORT.input.bytes))
    assert row(same, "file size").style == ""


def test_rows_that_say_nothing_are_left_out():
    dense = replace(
        REPORT,
        input=replace(REPORT.input, nonzero=REPORT.input.parameters),
        output=replace(AFTER, nonzero=AFTER.parameters),
    )
    assert "non-zero" not in [one.label for one in comparison(dense)]
    assert "packed" not in [one.label for one in comparison(REPORT)]
    packed = replace(REPORT, output=replace(AFTER, packed_bytes=100_000))
    assert row(packed, "packed").after == "100 kB"
    untimed = replace(
        REPORT,
        input=replace(REPORT.input, latency_ms=None),
        output=replace(AFTER, latency_ms=None),
        timing=None,
        metric=None,
    )
    assert [one.label for one in comparison(untimed)] == ["file size", "parameters", "non-zero", "MACs"]


def test_a_loss_beyond_the_budget_is_red():
    metric = replace(REPORT.metric, after=80.0)
    found = row(replace(REPORT, metric=metric), "top1")
    assert (found.change, found.style) == ("−7.68 points (may cost 1.00)", "red")
    assert row(REPORT, "top1").style == ""


def test_synthetic_inputs_are_named_and_have_no_error():
    rows = comparison(replace(REPORT, metric=replace(REPORT.metric, real_data=False)))
    assert rows[-1].change.endswith(", on synthetic inputs")
    assert rows[-1].label == "top1"


def test_the_outcome_of_a_pass():
    assert [outcome(one) for one in (PRUNE, ROLLED_BACK, replace(PRUNE, changed=0))] == [
        "kept",
        "ROLLED BACK",
        "no change",
    ]
    assert changes(replace(PRUNE, changed=1)) == "prune-channels changed 1 place"
    assert changes(ROLLED_BACK) == "convert-float16 would have changed 31 places"
    assert settings_of(PRUNE) == "ratio=0.3, criterion=l2"
    assert settings_of(ROLLED_BACK) == ""


def test_notes_are_lines_and_lists_of_rows_are_tables():
    layers = [{"layer": "a", "share": 0.123456}, {"layer": "b", "share": None, "why": "small"}]
    item = replace(PRUNE, notes={"ratios_by_layer": {"a": 0.5}, "long": "x" * 1000, "layers": layers, "empty": []})
    lines = notes_of(item)
    assert lines[0] == 'ratios by layer: {"a": 0.5}'
    assert len(lines[1]) == len("long: ") + LONGEST_NOTE + 1
    assert lines[2] == "empty: []"
    assert tables_of(item) == [
        NoteTable("layers", ("layer", "share", "why"), (1,), (("a", "0.123", "–"), ("b", "–", "small")))
    ]


@pytest.mark.parametrize("value", [[], [1, 2], [{"a": [1]}], "text", {"a": 1}])
def test_other_values_are_not_tables(value):
    assert tables_of(replace(PRUNE, notes={"n": value})) == []
