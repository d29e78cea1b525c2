from __future__ import annotations

import pytest

from onnx_compress.compiler.analysis.macs import FORMULAS, macs
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.shapes.sizes import SizeTable, UnknownSize

HEAD = '<ir_version: 10, opset_import: ["" : 23, "com.microsoft" : 1]>'


def counted(body: str) -> int:
    model = from_text(HEAD + body)
    return macs(model.graph.nodes[-1], SizeTable(model, {}))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "g (float[2,3,8,8] x) => (float[2,6,4,4] y) <float[6,1,3,3] w>"
            "{ y = Conv <group=3, pads=[1,1,1,1], strides=[2,2]> (x, w) }",
            2 * 6 * 16 * 9,
        ),
        ("g (float[2,4,5,5] x) => (float[2,6,10,10] y) <float[4,3,2,2] w>"
         "{ y = ConvTranspose <strides=[2,2], group=2> (x, w) }", 2 * 4 * 25 * 3 * 4),
        ("g (float[5,3] x) => (float[3,7] y) <float[7,5] w> { y = Gemm <transA=1, transB=1> (x, w) }", 3 * 5 * 7),
        ("g (float[2,1,4,6] x, float[3,6,5] w) => (float[2,3,4,5] y) { y = MatMul (x, w) }", 2 * 3 * 4 * 6 * 5),
        ("g (float[6] x, float[6,5] w) => (float[5] y) { y = MatMul (x, w) }", 30),
        ("g (float[2,3] x, float[3,4] a, float[4] b) => (float[2] y)"
         '{ y = Einsum <equation="ni,io,o->n"> (x, a, b) }', 2 * 3 * 4 * 2),
        ("g (float[1,2,5,8] q, float[1,2,7,8] k, float[1,2,7,4] v) => (float[1,2,5,4] y) { y = Attention (q, k, v) }",
         2 * 5 * 8 * 7 + 2 * 5 * 4 * 7),
        ("g (float[3,4] x) => (float[3,4] y) { y = Relu (x) }", 0),
    ],
)  # fmt: skip
def test_products_are_counted_as_in_nested_loops(body, expected):
    assert counted(body) == expected


def test_unknown_sizes_are_an_error():
    with pytest.raises(UnknownSize):
        counted("g (float[N,T,6] x) => (float[N,T,9] y) <float[6,9] w> { y = MatMul (x, w) }")
    with pytest.raises(UnknownSize, match="ellipsis"):
        counted('g (float[2,6] x, float[6,9] w) => (float[2,9] y) { y = Einsum <equation="...i,io->...o"> (x, w) }')


def test_inconsistent_shapes_are_an_error():
    model = from_text(HEAD + "g (float[2,3,3] x, float[2,3,4] w) => (float[2,3,4] y) { y = MatMul (x, w) }")
    shapes = {"x": (2, 3, 3), "w": (5, 3, 4)}
    with pytest.raises(UnknownSize, match="inconsistent"):
        macs(model.graph.nodes[0], lambda tensor: shapes[tensor.name])


def test_every_operator_with_a_formula_is_known():
    for key in FORMULAS:
        domain, _, op = key.rpartition(".")
        inputs = ", ".join("abcd")
        model = from_text(HEAD + f"g (float a) => (float y) {{ y = {domain + '.' if domain else ''}{op} ({inputs}) }}"
                          .replace("(float a)", "(float a, float b, float c, float d)"))  # fmt: skip
        assert ops.key(model.graph.nodes[0]) == key
