"""Which act may be left out where it follows itself, and along which axis of a value its channels lie."""

from __future__ import annotations

import pytest

from onnx_compress.compiler.analysis.residuals import Residuals
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune._branches.branches import remove
from onnx_compress.passes.prune.prune_blocks import _channel_axis

HEAD = '<ir_version: 10, opset_import: ["" : 23]>'


def without_branch(act):
    model = from_text(
        f"""{HEAD} g (float[N,4] x) => (float[N,4] y) <float[4,4] v, float[4,4] w, float[4,4] u, float low, float top>
        {{ a = MatMul (x, v) b = {act.replace("?", "a")} c = MatMul (b, w) s = Add (b, c) t = {act.replace("?", "s")}
           y = MatMul (t, u) }}"""
    )
    (block,) = Residuals.of(model).branches
    remove(model, block)
    return [node.op for node in model.nodes()]


@pytest.mark.parametrize("act", ["Relu (?)", "Clip (?, low, top)", "Abs (?)", "Floor (?)", "ThresholdedRelu (?)"])
def test_what_is_idempotent_is_done_once(act):
    assert without_branch(act) == ["MatMul", act.split()[0], "MatMul"]


@pytest.mark.parametrize("act", ["Tanh (?)", "LeakyRelu (?)", "Neg (?)"])
def test_other_functions_are_done_twice(act):
    assert without_branch(act) == ["MatMul", act.split()[0], act.split()[0], "MatMul"]


@pytest.mark.parametrize(
    ("nodes", "rank", "axis"),
    [
        ("y = Conv (x, w)", 4, 1),
        ("c = Conv (x, w) y = Transpose <perm = [0, 2, 3, 1]> (c)", 4, 3),
        ("t = Transpose <perm = [0, 2, 3, 1]> (x) c = RMSNormalization (t, s) y = Relu (c)", 4, 3),
        ("y = LRN <size = 3> (x)", 4, 1),
        ("y = MatMul (x, m)", 4, 3),
        ("t = Reshape (x, shape) y, h = LSTM <hidden_size = 5> (t, v, r)", 4, 3),
        ("y = Softmax (x)", 4, None),
    ],
)
def test_channels_lie_where_the_operator_puts_them(nodes, rank, axis):
    model = from_text(
        f"""{HEAD} g (float[1,4,6,6] x) => (float y)
        <float[4,4,1,1] w, float[4] s, float[6,6] m, float[1,20,6] v, float[1,20,5] r, int64[3] shape = {{4,6,6}}>
        {{ {nodes} }}"""
    )
    assert _channel_axis(model.graph.outputs[0], rank) == axis
