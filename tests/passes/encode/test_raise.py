from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.passes.encode import _raise
from onnx_compress.passes.encode._raise import raised_twin
from onnx_compress.passes.encode.encode import Encode
from tests.behaviour import serialized
from tests.contexts import context

TEXT = """<ir_version: 5, opset_import: ["" : 10]>
g (float[N,6] x) => (float[N,2] y) <float[6,4] w>
{ h = MatMul (x, w) p, q = Split <axis=1, split=[2,2]> (h) y = Add (p, q) }"""


def raised(model: Model, **options) -> Model | str:
    data = {"x": np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)}
    return raised_twin(model, context(Encode(), model, data=data, **options), 13)


def test_a_model_is_converted_and_the_original_stays():
    model = from_text(TEXT)
    before = serialized(model)
    twin = raised(model)
    assert isinstance(twin, Model)
    assert (twin.opset, model.opset) == (13, 10)
    assert next(n for n in twin.nodes() if n.op == "Split").attrs == {"axis": 1}
    assert serialized(model) == before


def test_the_users_ceiling_counts():
    assert raised(from_text(TEXT), settings=Settings(opset=12)) == "the opset is limited to 12"


def test_outputs_that_would_change_are_named(monkeypatch):
    class Far:
        def within(self) -> bool:
            return False

    monkeypatch.setattr(_raise, "numerics", lambda *_: {"y": Far()})
    assert raised(from_text(TEXT)) == "at opset 13 the output 'y' would change"


def test_an_operator_that_can_not_be_converted_is_a_reason(monkeypatch):
    monkeypatch.setattr(_raise, "raise_opset", lambda model, version: "no converter for Odd")
    assert raised(from_text(TEXT)) == "no converter for Odd"


@pytest.mark.parametrize("samples", [1, 4])
def test_few_samples_are_compared(samples, monkeypatch):
    monkeypatch.setattr(_raise, "SAMPLES", samples)
    counted = []
    real = _raise.numerics
    monkeypatch.setattr(_raise, "numerics", lambda a, b, data: counted.append(len(data)) or real(a, b, data))
    assert isinstance(raised(from_text(TEXT)), Model)
    assert counted == [samples]
