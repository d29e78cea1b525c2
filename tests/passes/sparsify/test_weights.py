"""Weights as matrices of inputs by outputs, whichever side of a product they stand on."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.sparsify._weights import find_weights


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        ("Gemm (x, w)", "6,9"),
        ("Gemm <transB = 1> (x, w)", "9,6"),
        ("Gemm (w, x)", "9,6"),
        ("Gemm <transA = 1> (w, x)", "6,9"),
        ("MatMul (x, w)", "6,9"),
        ("MatMul (w, x)", "9,6"),
    ],
)
def test_rows_are_inputs_and_columns_outputs(node, shape):
    model = from_text(
        f'<ir_version: 10, opset_import: ["" : 21]> g (float[6,6] x) => (float y) <float[{shape}] w> {{ y = {node} }}'
    )
    (weight,) = find_weights(model, lambda node: False, lambda node, why: None)
    values = next(model.constants()).values
    assert weight.matrices().shape == (1, 6, 9)
    np.testing.assert_array_equal(weight.matrices()[0], values if shape == "6,9" else values.T)
