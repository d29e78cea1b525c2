from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from onnx_compress.compiler.zoo.check import Finding
from onnx_compress.compiler.zoo.table import finding_table, remarks, trial_table
from onnx_compress.compiler.zoo.trial import Trial

TRIALS = [
    Trial(model="net", pipeline="simplify", status="ok", bytes=0.98, macs=1, latency=0.5, error=1.5e-7, seconds=2.4),
    Trial(model="net", pipeline="quantize", status="failed", problems=("odd", "worse"), rolled_back=("prune",)),
    Trial(model="other", pipeline="simplify", status="ok"),
]


def shown(table: Table) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=100).print(table)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_rows_have_ratios_and_name_a_model_once():
    assert shown(trial_table(TRIALS)) == [
        "model pipeline bytes MACs latency error s",
        "net simplify 0.980 1.000 0.500 1.5e-07 2",
        "quantize 0",
        "other simplify 0",
    ]


def test_what_rows_have_no_space_for_is_a_line_each():
    assert remarks(TRIALS) == ["net: quantize: failed: odd; worse", "net: quantize: prune was rolled back"]


def test_findings_are_listed():
    finding = Finding("net", "simplify", "bytes 0.5, was 0.4", is_regression=True)
    assert "net simplify bytes 0.5, was 0.4" in shown(finding_table([finding]))
