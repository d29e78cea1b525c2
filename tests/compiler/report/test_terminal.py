"""The terminal report of a run, line by line."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from onnx_compress.compiler.report import terminal
from tests.compiler.report.reports import PRUNE, REMEMBERED, REPORT, ROLLED_BACK, SLOWER


def shown(report, *, width=80, verbose=False, colour=False):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, highlight=False)
    terminal.show(report, console, verbose=verbose)
    return stream.getvalue()


def test_the_whole_report():
    assert (
        shown(REPORT)
        == """\
resnet.onnx → small.onnx   prune-channels:ratio=0.3,quantize-int8

              before     after
file size    1.09 MB    212 kB  0.19×
parameters   269,036   190,000  0.71×
non-zero     269,034   188,000  0.70×
MACs          40.8 M    28.9 M  0.71×
latency     0.491 ms  0.201 ms  0.41× ± 0.01, 1 thread, batch 1
top1         87.68 %   87.40 %  −0.28 points (may cost 1.00)
                                ± 0.83 points, from only 128 samples

pass            outcome     size    MACs   latency   metric       took
simplify        kept     1.09 MB  40.8 M  0.491 ms        –      0.3 s
prune-channels  kept      780 kB  28.9 M  0.380 ms  86.48 %      4.2 s
quantize-int8   kept      212 kB  28.9 M  0.201 ms  87.40 %  1 min 1 s

prune-channels changed 9 places
  - it costs 1.20 points of top1, the budget is 1; kept because its strength was
    given
  - left alone Conv 'layer0', Conv 'layer1' and 3 more: its channels reach the
    output

output 'logits': max |Δ| 0.0123 at scale 11.2, cosine 0.999810, SQNR 31.2 dB

small.onnx is 5.1 times smaller and 2.4 times faster than resnet.onnx; it loses
0.28 points of top1 on 128 held-out samples.
"""
    )


@pytest.mark.parametrize("verbose", [False, True])
def test_it_fits_the_width_and_a_pipe_gets_plain_text(verbose):
    report = replace(REPORT, passes=(*REPORT.passes, ROLLED_BACK), slower_layers=SLOWER, warnings=("beware " * 30,))
    lines = shown(report, verbose=verbose).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line != line.rstrip() for line in lines)
    assert not any(mark in line for line in lines for mark in "\x1b│─┃━╭")


def test_no_figure_is_cut_however_long_the_remark_behind_it():
    metric = replace(REPORT.metric, name="a-metric-of-a-long-name", real_data=False, samples=12)
    text = shown(replace(REPORT, metric=metric, input=replace(REPORT.input, macs=123_456)))
    assert "123,456" in text
    assert "on synthetic inputs" in " ".join(text.split())
    assert "…" not in text


def test_remembered_times_have_a_line():
    line = "3 choices based on latencies remembered since 2025-11-30, in t.json"
    assert line in shown(replace(REPORT, remembered_times=REMEMBERED)).splitlines()
    assert "remembered" not in shown(REPORT)
    undated = replace(REPORT, remembered_times=replace(REMEMBERED, choices=1, since=None))
    assert "1 choice based on latencies remembered since an unknown date, in t.json" in shown(undated)


def test_a_terminal_gets_colours():
    assert "\x1b[" in shown(REPORT, colour=True)


def test_a_rolled_back_pass_stands_out():
    text = shown(replace(REPORT, passes=(ROLLED_BACK,)))
    assert "convert-float16  ROLLED BACK" in text
    assert "convert-float16 would have changed 31 places\n  - it costs 37.00 points" in text


def test_verbose_names_options_notes_outputs_and_every_place_left_alone():
    text = shown(REPORT, verbose=True, width=120)
    assert "ratio=0.3, criterion=l2" in text
    assert 'ratios: {"layer1": 0.25}' in text
    assert text.count("its channels reach the output") == 5
    assert "output 'aux'" in text


def test_verbose_shows_notes_by_layer_as_a_table():
    rows = [{"layer": "Conv 'a'", "before": 64, "after": 48, "loss": 0.012345}, {"layer": "Conv 'b'", "before": 128}]
    report = replace(REPORT, passes=(replace(PRUNE, notes={"widths": rows, "step": 16}),))
    lines = shown(report, verbose=True).splitlines()
    start = lines.index("  - widths:")
    assert [line.split() for line in lines[start + 1 : start + 4]] == [
        ["layer", "before", "after", "loss"],
        ["Conv", "'a'", "64", "48", "0.0123"],
        ["Conv", "'b'", "128", "–", "–"],
    ]
    assert "  - step: 16" in lines
    assert "widths" not in shown(report)


def test_synthetic_inputs_are_marked_in_the_row_of_the_metric():
    report = replace(REPORT, metric=replace(REPORT.metric, real_data=False), warnings=("no data were given",))
    text = shown(report)
    assert "−0.28 points (may cost 1.00), on synthetic" in text
    assert "from only 128 samples" not in text
    assert "! No data were given." in text


def test_names_that_look_like_markup_are_printed_unchanged():
    report = replace(REPORT, source="[red]x.onnx", numerics={"[bold]y": REPORT.numerics["logits"]})
    assert "[red]x.onnx →" in shown(report)
    assert "output '[bold]y'" in shown(report)
