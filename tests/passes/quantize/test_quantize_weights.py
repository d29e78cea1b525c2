"""What goldens can't check of quantize-weights: that everything folds, and numbers."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime import session
from onnx_compress.passes.quantize.quantize_weights import QuantizeWeights
from tests.contexts import by_name

EVERYTHING = """<ir_version: {ir}, opset_import: ["" : {opset}]>
g (float[N,8,6,6] x, float[3,2,8] t, int64[N] i, bool c)
   => (float[N,8,12,12] y, float[3,1,2,16] z, float[N,32] e, float[N,64] b)
   <float[16,8,3,3] w, float[16,8,2,2] up, float[1,64,8] lw, float[1,64,16] lr, float[20,32] table,
    float[32,64] m, float[32,64] k>
{{
   h = Conv <pads = [1,1,1,1]> (x, w)
   y = ConvTranspose <strides = [2,2]> (h, up)
   z = LSTM <hidden_size = 16> (t, lw, lr)
   e = Gather (table, i)
   b = If (c) <
      then_branch = t () => (float[N,64] yt) {{ yt = MatMul (e, m) }},
      else_branch = f () => (float[N,64] yf) {{ yf = MatMul (e, k) }}
   >
}}"""
MATMUL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,64] x) => (float[N,64] y) <float[64,64] w>
{ y = MatMul (x, w) }"""


def feeds(rng):
    return {
        "x": rng.standard_normal((2, 8, 6, 6)).astype(np.float32),
        "t": rng.standard_normal((3, 2, 8)).astype(np.float32),
        "i": np.array([3, 7]),
        "c": np.array(True),
    }


def optimized_ops(model, tmp_path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(model.proto().SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimized.onnx").graph
    bodies = [a.g for n in graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH]
    return Counter(node.op_type for g in (graph, *bodies) for node in g.node)


@pytest.mark.parametrize(("opset", "ir"), [(13, 7), (21, 10)])
@pytest.mark.parametrize(("bits", "block"), [(8, 0), (8, 16), (4, 0), (4, 16)])
def test_the_optimized_graph_is_the_dense_one(context, tmp_path, opset, ir, bits, block):
    model = from_text(EVERYTHING.format(opset=opset, ir=ir))
    dense, given = optimized_ops(model, tmp_path), feeds(np.random.default_rng(0))
    before = session.create(model).run(given)
    changed = QuantizeWeights(bits=bits, block=block, matmul="folded").run(model, plain(model, context))
    assert changed == 7
    assert optimized_ops(model, tmp_path) == dense
    after = session.create(model).run(given)
    for name, values in before.items():
        assert np.linalg.norm(after[name] - values) < (0.01 if bits == 8 else 0.15) * np.linalg.norm(values)


def plain(model, context):
    """A context whose data are not read."""
    ctx = context(from_text(MATMUL))
    ctx.model, ctx.original = model, model.clone()
    return ctx


def test_the_file_shrinks_by_the_bits(context):
    sizes = {}
    for bits in (32, 8, 4):
        model = from_text(MATMUL.replace("64", "512"))
        if bits < 32:
            QuantizeWeights(bits=bits, matmul="folded").run(model, context(model))
        sizes[bits] = len(model.proto().SerializeToString())
    assert sizes[8] < 0.26 * sizes[32]
    assert sizes[4] < 0.135 * sizes[32]


@pytest.mark.parametrize(("dequantize", "form"), [(0.94, "DequantizeLinear"), (0.96, "Mul")])
def test_the_other_form_for_matmul_must_be_faster_by_a_margin(context, dequantize, form):
    model = from_text(MATMUL)
    QuantizeWeights().run(model, context(model, takes=by_name(folded=1.0, dequantize=dequantize)))
    weight = next(n for n in model.nodes() if n.op == "MatMul").inputs[1]
    assert weight.name == "w"
    assert weight.inputs[0].op == form


def test_onnxruntime_reads_the_integers_of_a_dequantized_matmul(context, tmp_path):
    model = from_text(MATMUL)
    before = session.create(model).run(
        given := {"x": np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)}
    )
    QuantizeWeights(bits=4, block=32, matmul="dequantize").run(model, context(model))
    assert model.opset == 21
    after = session.create(model).run(given)
    assert np.linalg.norm(after["y"] - before["y"]) < 0.1 * np.linalg.norm(before["y"])


def test_an_odd_number_of_weights_takes_eight_bits_each_before_opset_21(context):
    model = from_text(MATMUL.replace("N,64] y", "N,51] y").replace("64,64", "51,51").replace("N,64] x", "N,51] x"))
    assert QuantizeWeights(bits=4, matmul="folded").run(model, context(model)) == 1
    assert next(c for c in model.constants() if c.name == "w.int8").stored.dtype == np.int8


def test_a_weight_that_a_caller_may_override_stays(context):
    proto = from_text(MATMUL).proto()
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [64, 64]))
    model = Model.from_proto(proto)
    ctx = context(model)
    assert QuantizeWeights().run(model, ctx) == 0
    assert "also an input" in ctx.skips[0].why


def test_an_excluded_layer_keeps_its_weight(context):
    model = from_text(MATMUL.replace("{ y", "{ [last] y"))
    assert QuantizeWeights().run(model, context(model, exclude=("last",))) == 0


def test_a_weight_in_a_constant_node(context):
    proto = from_text(MATMUL).proto()
    value = proto.graph.initializer.pop()
    node = onnx.helper.make_node("Constant", [], ["w"], value=value)
    proto.graph.node.insert(0, node)
    model = Model.from_proto(proto)
    assert QuantizeWeights(matmul="folded").run(model, context(model)) == 1
    assert [n.op for n in model.nodes()] == ["Cast", "Mul", "MatMul"]


def test_the_origin_of_a_weight_is_kept(context):
    model = from_text(MATMUL)
    QuantizeWeights().run(model, context(model))
    assert next(c for c in model.constants() if c.name == "w.int8").origin.name == "w"
