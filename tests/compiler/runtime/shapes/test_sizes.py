"""Shapes that inference leaves open are seen in a run; why there is none is said."""

from __future__ import annotations

import pytest

from onnx_compress.compiler.ir.graph import Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.shapes import sizes
from onnx_compress.compiler.runtime.shapes.sizes import SizeTable, UnknownSize

OPEN = """<ir_version: 10, opset_import: ["" : 21{}]>
g (float[1,4] x) => (float[N,M] y)
{{ h = Relu (x) k = NonZero (h) f = Cast <to = 1> (k) {} }}"""
"""How many columns the NonZero has depends on the values."""


def looked_at(model: Model) -> tuple[SizeTable, Tensor]:
    table = SizeTable(model, {})
    wanted = next(node.outputs[0] for node in model.nodes() if node.op == "Cast")
    table.look([wanted])
    return table, wanted


def test_what_inference_leaves_open_is_seen_in_a_run() -> None:
    table, wanted = looked_at(from_text(OPEN.format("", "y = Neg (f)")))
    assert table(wanted)[0] == 2


def test_the_reason_for_an_unknown_size_is_reported() -> None:
    table, wanted = looked_at(from_text(OPEN.format(', "mine" : 1', "y = mine.Other (f)")))
    with pytest.raises(
        UnknownSize, match=r"the shape of 'f' is \[2, .*\], and running the model did not tell: .*Other"
    ):
        table(wanted)


def test_a_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "observe", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        looked_at(from_text(OPEN.format("", "y = Neg (f)")))
