"""A pass that changes the model's input on purpose: data, judge and report follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

import onnx_compress
from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import manager
from onnx_compress.compiler.pipeline.base import Effect, Pass
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.pipeline.datasets import datasets
from onnx_compress.compiler.pipeline.recipe import Step
from onnx_compress.compiler.pipeline.settings import Settings
from tests.compiler.pipeline.passes_for_tests import Idle

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,16,16] x) => (float[N,4] y) <float[4,3,3,3] w>
{ h = Conv <pads: ints = [1, 1, 1, 1]> (x, w) p = GlobalAveragePool (h) y = Flatten (p) }"""


@dataclass(frozen=True, kw_only=True)
class Halve(Pass):
    """Take pictures of half the size."""

    name = "halve"
    effect = Effect.LOSSY
    changes_inputs = True

    def run(self, model: Model, ctx: Context) -> int:
        edit.set_shape(model, model.inputs()[0], ("N", 3, 8, 8))
        return 1


@dataclass(frozen=True, kw_only=True)
class Look(Idle):
    """Note the shape of the samples that it is given."""

    name = "look"
    seen = []  # noqa: RUF012

    def run(self, model: Model, ctx: Context) -> int:
        self.seen.append(next(ctx.data.batches(1))["x"].shape)
        return super().run(model, ctx)


@pytest.fixture(autouse=True)
def _own_latency_table(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Look.seen.clear()


def run(data):
    model = from_text(MODEL)
    settings = Settings(raw=True, max_drop=300.0)
    calibration, held_out = datasets(model, data, None, {}, settings.seed)
    steps = [Step(Halve()), Step(Look())]
    return manager.compress(model, steps, data=calibration, held_out=held_out, settings=settings)


def is_halved(outcome):
    shape = outcome.model.inputs()[0].shape
    record = outcome.report.passes[0]
    return shape[2:] == (8, 8) and record.kept and record.figures.macs * 4 == outcome.report.input.macs


def test_pictures_are_read_again_at_the_new_size(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(tmp_path / f"{i}.png")
    outcome = run(tmp_path)
    assert is_halved(outcome)
    assert Look.seen == [(1, 3, 8, 8)]
    assert outcome.report.timing is not None
    assert onnx_compress.session(outcome.model).inputs[0].shape[2:] == (8, 8)


def test_synthetic_samples_are_drawn_again():
    assert is_halved(run(None))
    assert Look.seen == [(1, 3, 8, 8)]


def test_arrays_that_no_longer_fit_are_named_with_the_remedy():
    with pytest.raises(DataError, match="'x'"):
        run({"x": np.zeros((12, 3, 16, 16), np.float32)})
