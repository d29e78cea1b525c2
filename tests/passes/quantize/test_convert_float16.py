"""What goldens can't check of convert-float16: numbers, ranges, and which nodes stay float32."""

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.passes.quantize import convert_float16
from onnx_compress.passes.quantize._float16 import limits
from onnx_compress.passes.quantize.convert_float16 import ConvertFloat16

NET = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,8,6,6] x) => (float[N,32] y) <float[16,8,3,3] w, float[16] b, float[576,32] v, float[576] g, float[576] d>
{
   c = Conv <pads = [1,1,1,1]> (x, w, b)
   r = Relu (c)
   f = Flatten (r)
   n = LayerNormalization (f, g, d)
   [last] y = MatMul (n, v)
}"""


@pytest.mark.parametrize("kind", ["compute", "storage"])
def test_the_file_halves_and_the_outputs_stay(context, kind):
    model = from_text(NET)
    ctx = context(model)
    feeds, before = next(ctx.data.batches(16)), specs(model)
    size = len(model.proto().SerializeToString())
    expected = session.create(model).run(feeds)["y"]
    assert ConvertFloat16(kind=kind).run(model, ctx) > 0
    found = session.create(model).run(feeds)["y"]
    assert specs(model) == before
    assert found.dtype == np.float32
    assert len(model.proto().SerializeToString()) < 0.52 * size
    assert np.linalg.norm(found - expected) < 3e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("kind", ["compute", "storage"])
def test_a_weight_beyond_the_range_stays(context, kind):
    model = from_text(NET)
    weight = next(c for c in model.constants() if c.name == "v")
    weight.values_set(weight.values * np.float32(1e5))
    ctx = context(model)
    assert ConvertFloat16(kind=kind).run(model, ctx) > 0
    assert next(c for c in model.constants() if c.name == "v").stored.dtype == np.float32
    assert any("beyond float16's 65504" in skip.why for skip in ctx.skips)


def test_an_excluded_node_computes_in_float32(context):
    model = from_text(NET)
    ConvertFloat16().run(model, context(model, exclude=("last",)))
    last = next(node for node in model.nodes() if node.name == "last")
    assert last.inputs[0].inputs[0].op == "Cast"
    assert last.inputs[1].stored.dtype == np.float32


def test_a_model_that_crashes_onnxruntime_is_refused_and_unchanged(context, monkeypatch):
    monkeypatch.setattr(convert_float16, "survives", lambda model: False)
    model = from_text(NET)
    before = model.proto()
    ctx = context(model)
    assert ConvertFloat16().run(model, ctx) == 0
    assert model.proto() == before
    assert "kind=storage" in ctx.skips[-1].why


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([1.0, 2.0], ""),
        ([0.0, 0.0], ""),
        ([1e5], "beyond"),
        ([-np.inf, 1.0], ""),
        ([1e-12], "becomes 0"),
        ([1e-7, 1.3e-7], "relative error"),
        ([1.0, 1e-12], ""),
    ],
)
def test_losses_of_constants(values, word):
    reason = limits.loss(np.array(values, np.float32))
    assert (word in reason) if word else reason == ""


def test_losses_of_computed_values():
    assert limits.range_loss(-1.0, 1.0) == ""
    assert limits.range_loss(0.0, 0.0) == ""
    assert "beyond" in limits.range_loss(-7e4, 0.0)
    assert "little precision" in limits.range_loss(0.0, 1e-6)
