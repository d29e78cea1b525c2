from __future__ import annotations

import pytest

from onnx_compress.compiler.analysis.geometry import Geometry, geometry
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.shapes.sizes import SizeTable, UnknownSize

HEAD = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>'


def found(body: str) -> Geometry:
    model = from_text(HEAD + "g (float[N,6,8,8] x, float[5,1,6] s, float[N,6] r) => (float y)" + body)
    return geometry(model.graph.nodes[-1], SizeTable(model, {}))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "<float[4,3,3,5] w> { y = Conv <group=2, strides=[2,1]> (x, w) }",
            Geometry(6, 4, kernel=(3, 5), stride=(2, 1), group=2),
        ),
        ("<float[6,4,2,2] w> { y = ConvTranspose (x, w) }", Geometry(6, 4, kernel=(2, 2), stride=(1, 1))),
        ("<float[6,4,2,2] w> { y = ConvTranspose <group=3> (x, w) }", Geometry(6, 12, (2, 2), (1, 1), 3)),
        ("<float[6,9] w> { y = Gemm (r, w) }", Geometry(6, 9)),
        ("<float[9,6] w> { y = Gemm <transB=1> (r, w) }", Geometry(6, 9)),
        ("<float[2,6,9] w> { y = MatMul (r, w) }", Geometry(6, 9)),
        ("<float[6] w> { y = MatMul (r, w) }", Geometry()),
        ("<float[1,32,6] w, float[1,32,8] h> { y = LSTM <hidden_size=8> (s, w, h) }", Geometry(6, 8)),
        ("<uint8[9,1,16] w, float[9] k> { y = com.microsoft.MatMulNBits <K=6, N=9> (r, w, k) }", Geometry(6, 9)),
        ("{ y = Relu (x) }", Geometry()),
    ],
    ids=lambda one: one.split(">", 1)[-1].split("(")[0] if isinstance(one, str) else "",
)
def test_a_layer_has_channels_kernel_and_stride(body, expected):
    assert found(body) == expected


def test_a_weight_of_unknown_shape_is_left_open():
    model = from_text(HEAD + "g (float[N,6] x, float[6,9] w) => (float[N,9] y) { y = MatMul (x, w) }")

    def unknown(tensor):
        raise UnknownSize(tensor.name)

    assert geometry(model.graph.nodes[0], unknown) == Geometry()


def test_channels_in_words():
    assert Geometry(3, 16).channels == "3→16"
    assert Geometry(3).channels == ""
