"""What goldens can't check of quantize-int8: numbers, fused kernels, budgets, other content of the file."""

import logging
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime import session
from onnx_compress.passes.quantize._plain_bytes import plain_bytes
from onnx_compress.passes.quantize.quantize_int8 import QuantizeInt8
from tests.contexts import by_name

RESIDUAL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,16,8,8] x) => (float[N,10] y)
   <float[16,16,3,3] w1, float[16] b1, float[16,16,3,3] w2, float[16] b2, float[1024,10] w3>
{
   [first] c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
   r1 = Relu (c1)
   [second] c2 = Conv <pads = [1,1,1,1]> (r1, w2, b2)
   s = Add (c2, r1)
   r2 = Relu (s)
   f = Flatten (r2)
   [third] y = MatMul (f, w3)
}"""
PAIR = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,64] x) => (float[N,64] y, float[N,64] z) <float[64,64] w, float[64,64] v>
{
   [one] y = MatMul (x, w)
   h = Sigmoid (x)
   [two] z = MatMul (h, v)
}"""


def int8(**options):
    return QuantizeInt8(**{"types": "u8s8", **options})


def optimized_ops(model, tmp_path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(model.proto().SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)


def test_onnxruntime_runs_integer_kernels_throughout(context, tmp_path):
    model = from_text(RESIDUAL)
    assert int8().run(model, context(model)) > 0
    ops = optimized_ops(model, tmp_path)
    assert (ops["QLinearConv"], ops["QLinearAdd"]) == (2, 1)
    assert (ops["Conv"], ops["Add"], ops["Relu"]) == (0, 0, 0)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("types", ["u8s8", "s8s8", "u8u8"])
def test_outputs_stay_close(context, method, types):
    model = from_text(RESIDUAL)
    ctx = context(model)
    feeds = next(ctx.data.batches(16))
    before = session.create(model).run(feeds)["y"]
    assert int8(method=method, types=types).run(model, ctx) > 0
    after = session.create(model, optimize=False).run(feeds)["y"]
    assert np.linalg.norm(after - before) < 0.02 * np.linalg.norm(before)


@pytest.mark.parametrize("text", [RESIDUAL, PAIR], ids=["residual", "pair"])
@pytest.mark.parametrize("options", [{"narrow": True}, {"types": "s8s8", "narrow": True}, {"types": "u8u8"}], ids=str)
def test_integer_kernels_compute_what_the_file_says(context, options, text):
    """On every CPU: these choices don't saturate on x86 without VNNI, where 8-bit u8s8 and s8s8 do."""
    model = from_text(text)
    ctx = context(model)
    assert int8(**options).run(model, ctx) > 0
    feeds = next(ctx.data.batches(16))
    fused, plain = (session.create(model, optimize=optimize).run(feeds) for optimize in (True, False))
    for name, expected in plain.items():
        assert np.linalg.norm(fused[name] - expected) < 1e-3 * np.linalg.norm(expected)


def test_ranges_are_those_of_onnxruntimes_own_tool(context):
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    utils = pytest.importorskip("onnxruntime.quantization.quant_utils")
    assert calibrate.CalibrationMethod.MinMax
    model = from_text(PAIR)
    ctx = context(model)
    values = np.concatenate([feeds["x"] for feeds in ctx.data.batches(4)])
    zero, scale = utils.compute_scale_zp(values.min(), values.max(), np.array(0, np.uint8), np.array(255, np.uint8))
    int8().run(model, ctx)
    constants = {c.name: c.values for c in model.constants()}
    assert constants["x.scale"] == pytest.approx(float(scale), rel=1e-6)
    assert constants["x.zero"] == zero


def test_layers_stay_float_if_the_budget_requires_it(context):
    model = from_text(PAIR)

    def loses(candidate):
        return 3.0 if sum(node.op == "MatMul" for node in candidate.nodes() if is_int8(node)) == 2 else 0.5

    ctx = context(model, loses=loses)
    assert int8().run(model, ctx) == 1
    ranking = [entry["layer"] for entry in ctx.notes["sensitivity"]]
    assert sorted(ranking) == ["one", "two"]
    assert ctx.notes["left_float"] == ranking[:1]
    assert [(s.where, s.why[:14]) for s in ctx.skips] == [(ranking[0], "left in float:")]


def is_int8(node):
    return any(t.inputs and t.inputs[0].op == "DequantizeLinear" for t in node.inputs[1:])


def test_nothing_is_changed_when_no_layer_fits_the_budget(context):
    model = from_text(PAIR)
    before = model.proto()
    ctx = context(model, loses=lambda _: 5.0)
    assert int8().run(model, ctx) == 0
    assert model.proto() == before
    assert ctx.skips[-1].why.startswith("no layer can be quantized")


@pytest.mark.parametrize(("s8s8", "chosen"), [(0.96, "u8s8"), (0.94, "s8s8")])
def test_other_types_must_be_five_percent_faster(context, s8s8, chosen):
    model = from_text(PAIR)
    ctx = context(model, takes=by_name(u8s8=1.0, s8s8=s8s8))
    QuantizeInt8().run(model, ctx)
    assert ctx.notes["types"] == chosen
    zero = next(c for c in model.constants() if c.name == "x.zero")
    assert zero.stored.dtype == (np.int8 if chosen == "s8s8" else np.uint8)


def test_weights_in_seven_bits(context):
    model = from_text(PAIR)
    int8(narrow=True).run(model, context(model))
    stored = {c.name: c.values for c in model.constants()}
    assert 60 <= np.abs(stored["w.int8"]).max() <= 63


def test_a_channel_of_zeros_and_a_huge_bias(context):
    model = from_text(RESIDUAL)
    arrays = {c.name: c for c in model.constants()}
    w = arrays["w1"].values.copy()
    w[3] = 0
    b = arrays["b1"].values.copy()
    b[3], b[4] = 1000.0, -3e4
    arrays["w1"].values_set(w)
    arrays["b1"].values_set(b)
    ctx = context(model)
    feeds = next(ctx.data.batches(16))
    before = session.create(model).run(feeds)["y"]
    assert int8(narrow=True).run(model, ctx) > 0  # 8-bit products saturate on x86 without VNNI
    after = session.create(model).run(feeds)["y"]
    assert np.linalg.norm(after - before) < 0.02 * np.linalg.norm(before)


def test_a_bias_beyond_32_bits_widens_the_scale(context):
    model = from_text(RESIDUAL)
    arrays = {c.name: c for c in model.constants()}
    arrays["w1"].values_set(arrays["w1"].values * np.float32(1e-9))
    arrays["b1"].values_set(np.full(16, 50.0, np.float32))
    ctx = context(model)
    feeds = next(ctx.data.batches(16))
    before = session.create(model).run(feeds)["y"]
    assert int8(narrow=True).run(model, ctx) > 0  # 8-bit products saturate on x86 without VNNI
    stored = {c.name: c.values.astype(np.float64) for c in model.constants()}
    assert np.abs(stored["b1.int32"] * stored["b1.scale"] - 50.0).max() < 1e-3
    after = session.create(model).run(feeds)["y"]
    assert np.linalg.norm(after - before) < 0.02 * np.linalg.norm(before)


def test_the_file_keeps_its_content_outside_the_graph(context):
    model = from_text(RESIDUAL)
    proto = model.proto()
    proto.producer_name, proto.domain, proto.doc_string, proto.model_version = "trainer", "org.x", "about", 7
    proto.metadata_props.add(key="classes", value="a,b")
    proto.graph.doc_string = "a graph"
    proto.graph.node[0].doc_string = "the first"
    model = Model.from_proto(proto)
    int8().run(model, context(model))
    after = model.proto()
    for field in ("producer_name", "domain", "doc_string", "model_version", "metadata_props", "opset_import"):
        assert getattr(after, field) == getattr(proto, field)
    assert after.graph.doc_string == "a graph"
    assert [n.doc_string for n in after.graph.node if n.name == "first"] == ["the first"]
    assert (after.graph.input, after.graph.output) == (proto.graph.input, proto.graph.output)
    assert {c.origin.name for c in model.constants()} >= {"w1", "b1", "w2", "b2", "w3"}


def test_two_runs_give_the_same_bytes_and_print_nothing(context, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    results = []
    for _ in range(2):
        model = from_text(RESIDUAL)
        int8(method="percentile").run(model, context(model))
        results.append(model.proto().SerializeToString(deterministic=True))
    assert results[0] == results[1]
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_the_file_shrinks(context):
    model = from_text(RESIDUAL)
    before = plain_bytes(model)
    int8().run(model, context(model))
    assert plain_bytes(model) < 0.3 * before


def test_a_weight_read_by_an_excluded_layer_stays_float_for_it(context):
    text = PAIR.replace("(h, v)", "(h, w)")
    model = from_text(text)
    ctx = context(model, exclude=("two",))
    assert int8().run(model, ctx) == 1
    two = next(node for node in model.nodes() if node.name == "two")
    assert two.inputs[1].name == "w"
    assert two.inputs[1].stored.dtype == np.float32


def test_weights_of_other_types_are_refused_with_the_reason(context):
    text = PAIR.replace("float[64,64] w", "float16[64,64] w").replace("(x, w)", "(c, w)")
    text = text.replace("{\n", "{\n   c = Cast <to = 10> (x)\n", 1).replace("(float[N,64] y", "(float16[N,64] y")
    model = from_text(text)
    ctx = context(model)
    assert int8().run(model, ctx) == 1
    assert [(s.where, s.why) for s in ctx.skips] == [("MatMul 'one'", "its weight is float16, not float32")]


def test_a_mix_that_is_slower_than_float_is_reported(context):
    model = from_text(PAIR)
    drops = iter([3.0, 0.5])
    ctx = context(model, loses=lambda _: next(drops), takes=by_name(float=1.0, int8=1.5))
    assert int8().run(model, ctx) == 1
    assert ctx.skips[-1].why == "with 1 layer in float it takes 1.50 times as long as before"
