from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._weights.decode import write_dequantized, write_folded
from onnx_compress.passes.quantize._weights.grouping import blocked, per_channel
from tests.behaviour import feeds_for, run

TEXT = """<ir_version: 10, opset_import: ["" : OPSET]>
g (float[N,32] x) => (float[N,6] y, float[N,6] z) <float[32,6] w> { y = MatMul (x, w) h = Neg (x) z = MatMul (h, w) }"""


def decoded(write, opset, bits, block=0):
    """The model after writing, the error of the outputs against the rounded weight, and its node operators."""
    model = from_text(TEXT.replace("OPSET", str(opset)))
    (constant,) = model.constants()
    values = constant.values
    stored = blocked(values, (1,), bits, block) if block else per_channel(values, (1,), bits)
    feeds = feeds_for(model)
    expected = feeds["x"] @ stored.values, -feeds["x"] @ stored.values
    write(model, constant, model.graph, stored, bits)
    edit.sweep(model)
    for new, old in zip(run(model, feeds), expected, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-4)
    return model


@pytest.mark.parametrize("block", [0, 16])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("opset", [13, 21])
def test_a_folded_weight_is_decoded_under_its_name(opset, bits, block):
    model = decoded(write_folded, opset, bits, block)
    matmuls = [node for node in model.graph.nodes if node.op == "MatMul"]
    assert {node.inputs[1].name for node in matmuls} == {"w"}
    has_table = bits == 4 and opset < 21
    assert any(node.op == "Gather" for node in model.graph.nodes) == has_table
    stored = next(c for c in model.constants() if c.name.startswith("w.int"))
    assert stored.nbytes == 32 * 6 // (2 if bits == 4 else 1) or opset >= 21


def test_the_table_of_pairs_is_shared():
    model = from_text(
        TEXT.replace("OPSET", "13").replace("z = MatMul (h, w)", "z = MatMul (h, v)").replace("w>", "w, float[32,6] v>")
    )
    for constant in list(model.constants()):
        write_folded(model, constant, model.graph, per_channel(constant.values, (1,), 4), 4)
    assert sum(constant.shape == (256, 2) for constant in model.constants()) == 1


@pytest.mark.parametrize(("opset", "bits", "block"), [(13, 8, 0), (21, 8, 16), (21, 4, 16), (21, 4, 0)])
def test_a_weight_of_matmuls_is_dequantized(opset, bits, block):
    model = decoded(write_dequantized, opset, bits, block)
    (node,) = [node for node in model.graph.nodes if node.op == "DequantizeLinear"]
    assert node.outputs[0].name == "w"
    assert node.attrs == ({"axis": 0, "block_size": block} if block else {"axis": 1})
    assert node.inputs[0].shape == (32, 6)


def test_the_origin_stays():
    model = decoded(write_folded, 21, 8)
    stored = next(c for c in model.constants() if c.name == "w.int8")
    assert stored.origin.name == "w"
