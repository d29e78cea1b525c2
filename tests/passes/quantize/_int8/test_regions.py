"""What stands between layers: operators that move integers as they move floats, and onnxruntime's kernels for them."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._int8.regions import NodeRole, candidates
from onnx_compress.passes.quantize.quantize_int8 import QuantizeInt8

BETWEEN = {
    "Gather <axis = 1> (a, k)": "int64[64] k",
    "GatherElements <axis = 3> (a, k)": "int64[1,64,8,8] k",
    "Tile (a, k)": "int64[4] k = {1,1,2,1}",
    "Expand (a, k)": "int64[4] k = {1,64,8,8}",
    "ReduceMax (a, k)": "int64[1] k = {2}",
    "MaxPool <kernel_shape = [2,2]> (a)": "",
    "Slice (a, k, e)": "int64[1] k = {0}, int64[1] e = {8}",
}


def between(node, constants=""):
    """A node between two convolutions, the first of which gives a."""
    return from_text(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        g (float[1,64,8,8] x) => (float y) <float[64,64,1,1] v, float[64,64,1,1] w{constants and ", "}{constants}>
        {{ [first] a = Conv (x, v) [middle] b = {node} [last] y = Conv (b, w) }}"""
    )


def roles(model):
    return {unit.node.name: unit.kind for unit in candidates(model, lambda node, why: None)}


@pytest.mark.parametrize(("node", "constants"), BETWEEN.items(), ids=lambda value: value.split(" ")[0])
def test_what_keeps_values_moves_integers(node, constants, context, tmp_path):
    model = between(node, constants)
    assert roles(model)["middle"] is NodeRole.PASSING
    assert QuantizeInt8(types="u8s8").run(model, context(model)) > 0
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(model.proto().SerializeToString(), options, providers=["CPUExecutionProvider"])
    ops = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert ops.count("QLinearConv") == 2
    assert ops[-1] == "DequantizeLinear"
    assert "DequantizeLinear" not in ops[:-1]  # nothing is computed in floats between


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        ("Softmax (a)", ""),
        ("Cast <to = 1> (a)", ""),
        ("Pad (a, k, f)", "int64[8] k = {0,0,1,1,0,0,1,1}, float f = {1}"),
        ('Resize <mode = "cubic"> (a, , k)', "float[4] k = {1,1,2,2}"),
        ("ReduceMean (a, k)", "int64[1] k = {2}"),
    ],
)
def test_what_makes_new_values_does_not(node, constants):
    assert "middle" not in roles(between(node, constants))
