"""Models that hold integers in place of floats are recognized, whoever quantized them."""

from __future__ import annotations

import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._quantized_already import quantized_by

HEAD = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1, "other" : 1]>'
DECLARED = "<float s, uint8 z, uint8[64,8] q, uint8[8] few>"


def found(node):
    model = from_text(f"{HEAD} g (uint8[1,64] x, float[1,64] f) => (float y) {DECLARED} {{ [one] y = {node} }}")
    return quantized_by(model) is not None


@pytest.mark.parametrize(
    "node",
    [
        "QuantizeLinear (f, s, z)",
        "DynamicQuantizeLinear (f)",
        "MatMulInteger (x, q)",
        "com.microsoft.QuantizeLinear (f, s, z)",
        "com.microsoft.QLinearConcat <axis = 0> (s, z, x, s, z)",
        "com.microsoft.QLinearSigmoid (x, s, z, s, z)",
        "DequantizeLinear (q, s, z)",
        "com.microsoft.DequantizeLinear (q, s, z)",
        "Cast <to = 1> (q)",
    ],
)
def test_integers_in_place_of_floats_are_seen(node):
    assert found(node)


@pytest.mark.parametrize(
    "node", ["DequantizeLinear (x, s, z)", "DequantizeLinear (few, s, z)", "Relu (f)", "other.QuantizeLinear (f, s, z)"]
)
def test_others_are_not(node):
    assert not found(node)
