"""The judge and the contexts that tests use are those that the pipeline hands out."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.context import Judge
from onnx_compress.compiler.pipeline.held_out import HeldOut
from tests.contexts import FakeJudge, by_name, context

ASKED = [name for name, value in vars(Judge).items() if inspect.isfunction(value) and not name.startswith("_")]
TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x) => (float[N,2] y) <float[4,2] w> { ["one"] y = MatMul (x, w) }"""


@pytest.mark.parametrize("name", ASKED)
def test_the_fake_judge_is_asked_what_the_real_one_is(name):
    asked = list(inspect.signature(getattr(Judge, name)).parameters)
    for kind in (FakeJudge, HeldOut):
        assert list(inspect.signature(getattr(kind, name)).parameters) == asked


def test_the_protocol_asks_something():
    assert {"drop", "speed"} <= set(ASKED)


def halved(model):
    other = model.clone()
    node = next(other.nodes())
    edit.set_weight(other, node, 1, input_value(node, 1) / 2)
    return other


def test_a_loss_is_what_outputs_move_by():
    model = from_text(TEXT)
    assert FakeJudge(model).drop(halved(model)) == pytest.approx(50)
    assert FakeJudge(model).drop(model) == 0
    assert FakeJudge(model, loses=lambda _: 3.0).drop(model) == 3


def test_times_are_the_bytes_or_what_the_test_says():
    models = {"a": from_text(TEXT), "b": from_text(TEXT.replace("[4,2]", "[4,20]").replace("[N,2]", "[N,20]"))}
    by_bytes = FakeJudge(models["a"]).speed(models)
    assert by_bytes["a"] < by_bytes["b"]
    judge = FakeJudge(models["a"], takes=by_name(b=0.5))
    assert judge.speed(models, {"x": np.zeros((1, 4))}) == {"a": 1.0, "b": 0.5}
    assert [set(feeds) for feeds in judge.timed] == [{"x"}]


def test_a_context_is_the_executors():
    model = from_text(TEXT)
    item = registry.find("quantize-weights")(bits=4)
    ctx = context(item, model, exclude=("o*",), overrides=(("one", {"bits": 8}),))
    node = next(model.nodes())
    assert ctx.is_excluded(node)
    assert ctx.override(node) == {"bits": 8}
    assert ctx.model is model
    assert len(ctx.data) == 16
    assert not ctx.data.real
