"""Parameters, bytes and MACs of small graphs, computed by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.analysis.cost import Cost, node_macs
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from tests.small_models import TEXTS, small_model

HEAD = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>'


def cost(body: str, **inputs: tuple[int, ...]) -> Cost:
    return Cost.of(from_text(HEAD + body), inputs)


@pytest.mark.parametrize(
    ("body", "parameters", "macs"),
    [
        ("g (float[N,3,8,8] x) => (float[N,16,4,4] y) <float[16,3,3,3] w, float[16] b>"
         "{ y = Conv <pads=[1,1,1,1], strides=[2,2]> (x, w, b) }", 16 * 27 + 16, 16 * 16 * 27),
        ("g (float[N,8,5,5] x) => (float[N,8,5,5] y) <float[8,1,3,3] w> { y = Conv <group=8, pads=[1,1,1,1]> (x, w) }",
         72, 8 * 25 * 9),
        ("g (float[N,4,5,5] x) => (float[N,6,10,10] y) <float[4,6,2,2] w> { y = ConvTranspose <strides=[2,2]> (x, w) }",
         96, 4 * 25 * 6 * 4),
        ("g (float[N,5] x) => (float[N,7] y) <float[7,5] w> { y = Gemm <transB=1> (x, w) }", 35, 35),
        ("g (float[3,3] x) => (float[3,7] y) <float[3,7] w> { y = Gemm <transA=1> (x, w) }", 21, 3 * 3 * 7),
        ("g (float[N,4,6] x) => (float[N,4,9] y) <float[6,9] w> { y = MatMul (x, w) }", 54, 4 * 54),
        ("g (float[N,4,6] x) => (float[N,4,4] y) { t = Transpose <perm=[0,2,1]> (x)  y = MatMul (x, t) }",
         0, 4 * 6 * 4),
        ("g (float[6] x) => (float[9] y) <float[6,9] w> { y = MatMul (x, w) }", 54, 54),
        ("g (float[N,4,6] x) => (float[N,4,9] y) <float[6,9] w> { y = Einsum <equation=\"bij,jk->bik\"> (x, w) }",
         54, 4 * 54),
        ("g (float[5,1,8] x) => (float[5,1,1,32] y) <float[1,128,8] w, float[1,128,32] r, float[1,256] b>"
         "{ y = LSTM <hidden_size=32> (x, w, r, b) }", 128 * 40 + 256, 5 * 128 * 40),
        ("g (float[5,1,8] x) => (float[5,2,1,4] y) <float[2,12,8] w, float[2,12,4] r>"
         "{ y = GRU <hidden_size=4, direction=\"bidirectional\"> (x, w, r) }", 2 * 12 * 12, 5 * 2 * 12 * 12),
        ("g (uint8[N,3,8,8] x) => (int32[N,4,6,6] y) <uint8[4,3,3,3] w> { y = ConvInteger (x, w) }",
         108, 4 * 36 * 27),
        ("g (uint8[N,6] x) => (int32[N,9] y) <int8[6,9] w> { y = MatMulInteger (x, w) }", 54, 54),
        ("g (float[N,64] x) => (float[N,8] y) <uint8[8,2,16] w, float[16] s>"
         "{ y = com.microsoft.MatMulNBits <K=64, N=8, bits=4, block_size=32> (x, w, s) }", 512, 512),
        ("g (float[N,3,4] x) => (float[N,3] y) { y = ReduceMean <keepdims=0> (x, axes) }"
         .replace("y)", "y) <int64[1] axes = {2}>"), 0, 0),
    ],
)  # fmt: skip
def test_an_operator(body, parameters, macs):
    found = cost(body)
    assert (found.parameters, found.macs) == (parameters, macs)


def test_sizes_come_from_the_inputs_given():
    body = "g (float[N,T,6] x) => (float[N,T,9] y) <float[6,9] w> { [fc] y = MatMul (x, w) }"
    assert cost(body, x=(1, 5, 6)).macs == 5 * 54
    open_ended = cost(body)
    assert open_ended.macs is None
    assert open_ended.unknown == ("fc",)
    assert "T" in open_ended.layers[0].note


def test_a_layer_without_known_macs_does_not_hide_the_others():
    found = cost(
        "g (float[N,6] x, float[N,T,6] z) => (float[N,9] y, float[N,T,9] v) <float[6,9] w>"
        "{ [known] y = MatMul (x, w)  [open] v = MatMul (z, w) }"
    )
    assert (found.macs, found.unknown) == (54, ("open",))


def test_layers_that_never_multiply_do_not_make_an_unknown_total_zero():
    found = cost(
        "g (float[N,T,6] x) => (float[N,T,9] y) <float[6,9] w, float[9] b> { h = MatMul (x, w)  y = Add (h, b) }"
    )
    assert found.macs is None
    assert cost("g (float[N,T,6] x) => (float[N,T,6] y) <float[6] b> { y = Add (x, b) }").macs == 0


def test_the_batch_is_one_wherever_its_name_stands():
    found = cost("g (float[N,6] x, float[6,N] z) => (float[N,N] y) { y = MatMul (x, z) }")
    assert found.macs == 6


def test_a_declared_batch_of_minus_one_may_vary():
    body = "g (float[N,6] x) => (float[N,9] y) <float[6,9] w> { y = MatMul (x, w) }"
    model = from_text(HEAD + body)
    model.inputs()[0].shape = (-1, 6)
    assert Cost.of(model).macs == 54


def test_a_weight_that_two_layers_share_counts_once_in_the_total():
    found = Cost.of(small_model("tied"))
    assert found.parameters == 32 * 32 + 32
    assert [layer.parameters for layer in found.layers] == [1024, 32, 1024, 32]
    assert found.macs == 2 * 1024


def test_weights_behind_identity_and_in_constant_nodes_count():
    found = Cost.of(small_model("hidden_weights"))
    assert found.parameters == 16 * 32 + 32 * 8
    assert found.macs == found.parameters


def test_the_more_expensive_branch_counts():
    found = cost(
        "g (float[N,6] x, bool c) => (float[N,6] y) <float[6,6] a, float[6,60] b, float[60,6] d>"
        "{ [choice] y = If (c) <"
        "then_branch = t () => (float[N,6] p) { [cheap] p = MatMul (x, a) },"
        "else_branch = e () => (float[N,6] q) { [up] h = MatMul (x, b) [down] q = MatMul (h, d) }> }"
    )
    assert found.macs == 720
    assert found.notes == ("If 'choice': only the branch with the most MACs is counted",)
    assert {layer.name: layer.is_counted for layer in found.layers} == {"cheap": False, "up": True, "down": True}
    assert found.layers[0].path == ("If 'choice'",)
    assert found.parameters == 36 + 720


def test_a_loop_counts_one_iteration():
    found = cost(
        "g (float[N,6] x, int64 n, bool c) => (float[N,6] y) <float[6,6] a>"
        "{ [again] y = Loop (n, c, x) <"
        "body = b (int64 i, bool k, float[N,6] s) => (bool k2, float[N,6] t) { k2 = Identity (k) t = MatMul (s, a) }> }"
    )
    assert found.macs == 36
    assert found.notes == ("Loop 'again': only one iteration is counted",)


def test_zeros_are_told_apart():
    model = small_model("tied")
    weight = next(c for c in model.constants() if c.name == "w")
    values = weight.values.copy()
    values[:8] = 0
    edit.replace_values(model, weight, values)
    found = Cost.of(model)
    assert found.nonzero == found.parameters - 8 * 32


def test_a_layer_has_its_geometry():
    layer = Cost.of(small_model("separable")).layers[2]
    shape = layer.geometry
    assert (layer.name, layer.op, shape.channels, shape.kernel, shape.group) == ("grouped", "Conv", "32→32", (3, 3), 4)
    assert (layer.parameters, layer.bytes) == (32 * 8 * 9, 32 * 8 * 9 * 4)


@pytest.mark.parametrize("name", TEXTS)
def test_counting_changes_nothing(name):
    model = small_model(name)
    before, version = model.proto().SerializeToString(deterministic=True), model.version
    Cost.of(model)
    assert model.proto().SerializeToString(deterministic=True) == before
    assert model.version == version


def test_an_unknown_operator_is_not_an_obstacle():
    found = cost(
        "g (float[N,6] x) => (float[N,9] y) <float[6,9] w> { h = Mystery (x)  [fc] y = MatMul (h, w) }".replace(
            "Mystery", "com.microsoft.Mystery"
        )
    )
    assert found.parameters == 54
    assert found.unknown == ("fc",)


def test_inconsistent_shapes_are_not_an_obstacle():
    proto = onnx.parser.parse_model(
        HEAD + "g (float[2,6] x, float[5,9] z) => (float[2,9] y) { [fc] y = MatMul (x, z) }"
    )
    found = Cost.of(Model.from_proto(proto))
    assert found.macs in (None, 2 * 6 * 9)


def test_a_shape_known_only_at_run_time_is_observed():
    found = cost(
        "g (float[N,12] x) => (float[N,9] y) <float[6,9] w>"
        "{ nz = NonZero (x)  c = Cast <to=1> (nz)  r = Reshape (c, shape)  y = MatMul (r, w) }".replace(
            "w>", "w, int64[2] shape = {-1,6}>"
        ),
        x=(1, 12),
    )
    assert found.macs == 4 * 54


@pytest.mark.parametrize("name", TEXTS)
def test_the_costs_of_the_nodes_add_up_to_the_models(name):
    model = small_model(name)
    inputs = {"x": (5, 1, 8)} if name == "recurrent" else {}
    found = node_macs(model, inputs)
    assert sum(found.values()) == Cost.of(model, inputs).macs
    assert list(found) == model.graph.nodes


def test_a_node_of_unknown_shape_counts_as_zero():
    model = from_text(
        HEAD + "g (float[N,6] x) => (float[N,9] z, float[N,9] y) <float[6,9] w>"
        "{ h = com.microsoft.Mystery (x)  y = MatMul (h, w)  z = MatMul (x, w) }"
    )
    assert list(node_macs(model).values()) == [0, 0, 54]


def test_bytes_are_those_of_all_constants():
    model = small_model("residual")
    assert Cost.of(model).bytes == sum(np.asarray(c.values).nbytes for c in model.constants())


QUANTIZED = {
    "QLinearAdd (x, s, z, b, s, z, s, z)": 6,
    "QLinearMul (x, s, z, b, s, z, s, z)": 6,
    "QLinearSigmoid (x, s, z, s, z)": 0,
    "QLinearWhere (which, x, s, z, b, s, z, s, z)": 6,
    "QLinearConcat <axis = 0> (s, z, x, s, z, b, s, z)": 6,
}


@pytest.mark.parametrize(("node", "parameters"), QUANTIZED.items(), ids=lambda value: str(value).split(" ", 1)[0])
def test_scales_and_zero_points_are_not_parameters(node, parameters):
    text = (
        f"g (uint8[1,6] x, bool[6] which) => (uint8 y) <uint8[1,6] b, float s, uint8 z> {{ y = com.microsoft.{node} }}"
    )
    assert cost(text).parameters == parameters


RECURRENT = {"LSTM": "w, r, b, , h, h", "com.microsoft.DynamicQuantizeLSTM": "w, r, b, , h, h, , s, z, s, z"}


@pytest.mark.parametrize(("op", "inputs"), RECURRENT.items())
def test_an_lstm_has_as_many_parameters_in_integers(op, inputs):
    """The initial states are constants as well; W and R of the integer form are transposed."""
    is_float = op == "LSTM"
    w, r = ("float[1,128,8]", "float[1,128,32]") if is_float else ("uint8[1,8,128]", "uint8[1,32,128]")
    found = cost(
        f"g (float[5,1,8] x) => (float y) <{w} w, {r} r, float[1,256] b, float[1,1,32] h, float[1] s, uint8[1] z>"
        f"{{ y = {op} <hidden_size = 32> (x, {inputs}) }}"
    )
    assert found.parameters == 128 * 40 + 256 + 32
    assert found.macs == 5 * 128 * 40
    assert found.layers[0].geometry.channels == "8→32"


@pytest.mark.parametrize(
    "node",
    [
        "MatMul (x, w)",
        "com.microsoft.FusedMatMul (x, w)",
        "com.microsoft.DynamicQuantizeMatMul (x, i, s)",
        "com.microsoft.MatMulIntegerToFloat (q, i, s, s)",
        "MatMulInteger (q, i)",
        "QLinearMatMul (q, s, z, i, s, z, s, z)",
        "com.microsoft.QGemm (q, s, z, i, s, z, , s, z)",
    ],
)
def test_products_have_their_channels(node):
    text = f"g (float[N,6] x, uint8[N,6] q) => (y) <float[6,9] w, uint8[6,9] i, float s, uint8 z> {{ y = {node} }}"
    (layer,) = cost(text.replace("(y)", "(float y)")).layers
    assert layer.geometry.channels == "6→9"
