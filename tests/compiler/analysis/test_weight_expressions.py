"""Weights seen through the expressions that quantizers and compressors write."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text

HEAD = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>'
Q = np.array([[0, 1, -2, 3], [4, 0, 0, 7]], np.int8)


def model_of(body: str, **values: np.ndarray) -> Model:
    model = from_text(HEAD + body)
    for constant in model.constants():
        if constant.name in values:
            edit.replace_values(model, constant, values[constant.name])
    return model


@pytest.mark.parametrize(
    ("weight", "declared"),
    [
        ("w = DequantizeLinear (q, s)", "int8[2,4] q, float s"),
        ("w = DequantizeLinear <axis=0> (q, s, z)", "int8[2,4] q, float[2] s, int8[2] z"),
        ("w = DequantizeLinear <axis=1, block_size=2> (q, s, z)", "int8[2,4] q, float[2,2] s, int8[2,2] z"),
        ("c = Cast <to=1> (q)  w = Mul (c, s)", "int8[2,4] q, float[2,1] s"),
        ("c = Cast <to=1> (q)  w = Mul (s, c)", "int8[2,4] q, float s"),
        ("c = Cast <to=1> (q)  h = Cast <to=1> (s)  w = Mul (c, h)", "int8[2,4] q, float16 s"),
        ("c = Cast <to=1> (q)  d = Sub (c, f)  w = Mul (d, s)", "int8[2,4] q, float[2,1] s, float f"),
        ("c = CastLike (q, s)  w = Mul (c, s)", "int8[2,4] q, float s"),
        ("t = Dropout (q)  c = Cast <to=1> (t)  w = Mul (c, s)", "int8[2,4] q, float s"),
        ("r = Reshape (q, shape)  c = Cast <to=1> (r)  w = Mul (c, s)", "int8[8] q, float s, int64[2] shape = {2,4}"),
    ],
)
def test_integers_with_a_scale_are_one_weight(weight, declared):
    values = {"q": Q.reshape(-1) if "q, float s, int64" in declared else Q}
    for name, shape in (("z", (2,)), ("z", (2, 2))):
        if f"int8[{','.join(map(str, shape))}] {name}" in declared:
            values[name] = np.zeros(shape, np.int8)
    if "float f" in declared:
        values["f"] = np.float32(0)
    model = model_of(
        f"g (float[N,2] x) => (float[N,4] y) <{declared}> {{ {weight}  [fc] y = MatMul (x, w) }}", **values
    )
    cost = Cost.of(model)
    assert (cost.parameters, cost.nonzero, cost.macs) == (8, 5, 8)
    assert [layer.name for layer in cost.layers] == ["fc"]
    listed = [c.nbytes for c in model.constants() if c.name != "shape"]
    assert cost.layers[0].bytes == sum(listed)


@pytest.mark.parametrize(("axis", "zero", "nonzero"), [(0, [0, 7], 3 + 3), (1, [0, 0, -2, 7], 1 + 1 + 1 + 1)])
def test_the_zero_point_represents_zero(axis, zero, nonzero):
    body = (
        f"g (float[N,2] x) => (float[N,4] y) <int8[2,4] q, float[{len(zero)}] s, int8[{len(zero)}] z>"
        f"{{ w = DequantizeLinear <axis={axis}> (q, s, z)  y = MatMul (x, w) }}"
    )
    assert Cost.of(model_of(body, q=Q, z=np.array(zero, np.int8))).nonzero == nonzero


def test_a_codebook_holds_as_many_parameters_as_there_are_indices():
    model = model_of(
        "g (float[N,2] x) => (float[N,4] y) <uint8[2,4] i, float[3] book>"
        "{ c = Cast <to=6> (i)  w = Gather (book, c)  y = MatMul (x, w) }",
        i=np.array([[0, 1, 2, 0], [1, 1, 0, 0]], np.uint8),
        book=np.array([0, 0.5, -1], np.float32),
    )
    cost = Cost.of(model)
    assert (cost.parameters, cost.nonzero) == (8, 4)
    assert cost.layers[0].bytes == 8 + 12


def test_a_table_may_hold_several_values_for_an_index():
    model = model_of(
        "g (float[N,2] x) => (float[N,4] y) <uint8[4] i, float[3,2] table, int64[2] shape>"
        "{ c = Cast <to=6> (i)  g = Gather (table, c)  w = Reshape (g, shape)  y = MatMul (x, w) }",
        i=np.array([0, 1, 2, 0], np.uint8),
        table=np.array([[0, 1], [2, 3], [0, 0]], np.float32),
        shape=np.array([2, 4]),
    )
    cost = Cost.of(model)
    assert (cost.parameters, cost.nonzero) == (8, 4)


def test_an_embedding_is_one_weight():
    model = model_of("g (int64[N] x) => (float[N,4] y) <float[10,4] table> { [embed] y = Gather (table, x) }")
    cost = Cost.of(model)
    assert (cost.parameters, cost.macs) == (40, 0)


def test_scales_of_activations_are_not_parameters():
    model = model_of(
        "g (float[N,4] x) => (float[N,4] y) <float s, uint8 z, int8[4,4] q, float ws>"
        "{ a = QuantizeLinear (x, s, z)  b = DequantizeLinear (a, s, z)  w = DequantizeLinear (q, ws)"
        "  c = MatMul (b, w)  y = Relu (c) }"
    )
    assert Cost.of(model).parameters == 16


def test_fake_quantized_weights_count_their_floats():
    model = model_of(
        "g (float[N,2] x) => (float[N,4] y) <float[2,4] f, float s, int8 z>"
        "{ a = QuantizeLinear (f, s, z)  w = DequantizeLinear (a, s, z)  y = MatMul (x, w) }",
        z=np.int8(3),
    )
    cost = Cost.of(model)
    assert (cost.parameters, cost.nonzero) == (8, 8)


def test_integers_that_control_the_graph_are_not_parameters():
    model = model_of(
        "g (float[N,8] x) => (float[N,4] y) <int64[2] shape = {-1,4}, int64[1] at = {0}>"
        "{ a = Reshape (x, shape)  y = Gather (a, at) }"
    )
    assert Cost.of(model).parameters == 0


def test_a_long_product_of_computed_values_is_visited_once():
    steps = "".join(f"  v{i + 1} = Mul (v{i}, v{i})" for i in range(60))
    model = model_of(f"g (float[N,2] x) => (float[N,2] y) {{ v0 = Identity (x){steps}  y = Relu (v60) }}")
    assert Cost.of(model).parameters == 0


@pytest.mark.parametrize("zeros", [None, "packed", "float"])
@pytest.mark.parametrize("bits", [4, 8])
def test_packed_integers_are_counted_one_by_one(bits, zeros):
    rows, columns, block = 40, 3, 32
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 1 << bits, (columns, 2, block)).astype(np.uint8)
    zero = np.full((columns, 2), 1 << (bits - 1), np.uint8)
    if zeros is not None:
        zero = rng.integers(0, 1 << bits, (columns, 2)).astype(np.uint8)
    expected = np.count_nonzero((values != zero[..., None]).reshape(columns, -1)[:, :rows])
    pack = (lambda v: v[..., ::2] | (v[..., 1::2] << 4)) if bits == 4 else (lambda v: v)
    given = {"packed": "uint8[3,1] z" if bits == 4 else "uint8[3,2] z", "float": "float[3,2] z"}
    declared = f"uint8[3,2,{block * bits // 8}] q, float[6] s" + (f", {given[zeros]}" if zeros else "")
    read = "(x, q, s, z)" if zeros else "(x, q, s)"
    model = model_of(
        f"g (float[N,40] x) => (float[N,3] y) <{declared}>"
        f"{{ y = com.microsoft.MatMulNBits <K=40, N=3, bits={bits}, block_size={block}> {read} }}",
        q=pack(values),
        z=zero.astype(np.float32) if zeros == "float" else pack(zero),
    )
    cost = Cost.of(model)
    assert (cost.parameters, cost.nonzero, cost.macs) == (120, expected, 120)
