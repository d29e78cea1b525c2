from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.pipeline.context import Skip
from onnx_compress.compiler.report.html import to_html
from tests.compiler.report.reports import PRUNE, REMEMBERED, REPORT, ROLLED_BACK
from tests.small_models import small_model

VOID = ("meta", "br")


class Checked(HTMLParser):
    """Fails on mismatched tags, and collects attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_it_is_well_formed_and_self_contained():
    page = to_html(replace(REPORT, passes=(*REPORT.passes, ROLLED_BACK)))
    checked = Checked(page)
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in checked.tags}
    assert not any(name in attrs for _, attrs in checked.tags for name in ("src", "href", "onload"))
    assert not re.search(r"url\(|@import|https?://", page)


def test_it_says_what_the_terminal_says():
    text = Checked(to_html(replace(REPORT, passes=(*REPORT.passes, ROLLED_BACK), warnings=("beware",)))).text
    for said in ("5.1 times smaller", "0.19×", "ROLLED BACK", "prune-channels changed 9 places", "Beware.",
                 "onnxruntime 1.15 or newer", "Conv 'layer4': its channels", "max |Δ| 0.0123"):  # fmt: skip
        assert said in text


def test_remembered_times_stand_in_the_footer():
    line = "3 choices based on latencies remembered since 2025-11-30, in t.json."
    assert line in to_html(replace(REPORT, remembered_times=REMEMBERED))
    assert "remembered" not in to_html(REPORT)


def test_text_from_a_model_is_escaped():
    evil = "<script>alert(1)</script>&\"'"
    skipped = replace(
        PRUNE,
        name=evil,
        reason=evil,
        skips=(Skip(evil, evil),),
        options={evil: evil},
        notes={evil: evil, f"{evil}s": [{evil: evil}]},
    )
    report = replace(
        REPORT, source=evil, target=evil, spec=evil, passes=(skipped,), warnings=(evil,), versions={evil: evil},
        numerics={evil: REPORT.numerics["logits"]}, metric=replace(REPORT.metric, name=evil),
    )  # fmt: skip
    checked = Checked(to_html(report))
    assert "script" not in {tag for tag, _ in checked.tags}
    assert checked.text.count("<script>alert(1)") >= 11


def test_notes_by_layer_are_a_table():
    noted = replace(PRUNE, notes={"widths": [{"layer": "Conv 'a'", "ms_before": 0.25}]})
    page = to_html(replace(REPORT, passes=(noted,)))
    assert "<summary>widths: 1</summary>" in page
    assert "<tr><th>layer</th><th class=number>ms before</th></tr>" in page
    assert "<td>Conv &#x27;a&#x27;</td><td class=number>0.25</td>" in page


def test_layers_are_listed_side_by_side():
    before, after = Cost.of(small_model("residual")), Cost.of(small_model("separable"))
    text = Checked(to_html(REPORT, before, after)).text
    assert "Layers" in text
    for layer in (*before.layers, *after.layers):
        assert layer.name in text
