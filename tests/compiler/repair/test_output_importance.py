"""The importance of outputs, compared with how far the model's outputs move when one of them is disturbed."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair.moments import recognized
from onnx_compress.compiler.repair.output_importance import LEAST, importances
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.runtime.specs import specs

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
CHAIN = """
g (float[N,2,6,6] x) => (float[N,3] y) <float[4,2,3,3] w, float[16,5] v, float[5,3] u>
{
   [first] a = Conv <pads = [1, 1, 1, 1]> (x, w)
   b = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (a)
   c = Flatten (b)
   [second] d = MatMul (c, v)
   [third] y = MatMul (d, u)
}
"""


def found(text, head=HEAD):
    model = from_text(head + text)
    rng = np.random.default_rng(0)
    for constant in list(model.constants()):
        if constant.values.dtype.kind == "f":
            edit.replace_values(model, constant, rng.standard_normal(constant.shape).astype(np.float32))
    info = specs(model).inputs
    feeds = {spec.name: rng.standard_normal([d if isinstance(d, int) else 64 for d in spec.shape]) for spec in info}
    data = load({name: array.astype(np.float32) for name, array in feeds.items()}, info)
    nodes = [node for node in model.graph.nodes if node.is_op("Conv", "MatMul")]
    layers, _ = recognized(model, nodes, data)
    values = importances(model, layers.values())
    return (
        model,
        {name: array.astype(np.float32) for name, array in feeds.items()},
        {n.name: v for n, v in values.items()},
    )


def test_importance_is_how_far_the_outputs_move():
    """The same noise on each output of a layer in turn moves the model's outputs in proportion to its importance."""
    model, feeds, importance = found(CHAIN)
    before = create(model).run(feeds)["y"].astype(np.float64)
    noise = np.random.default_rng(1).standard_normal(16).astype(np.float32)
    moved = []
    for column in range(5):
        trial = model.clone()
        weight = next(c for c in trial.constants() if c.shape == (16, 5))
        values = weight.values.copy()
        values[:, column] += noise
        edit.replace_values(trial, weight, values)
        moved.append(float(np.square(create(trial).run(feeds)["y"] - before).sum()))
    assert importance["second"][0] == pytest.approx(np.array(moved) / np.mean(moved), rel=1e-3)


def test_positions_behind_a_flatten_belong_to_their_channel():
    model, _, importance = found(CHAIN)
    second = next(c for c in model.constants() if c.shape == (16, 5)).values.astype(np.float64)
    expected = (np.square(second) @ importance["second"][0]).reshape(4, 4).sum(axis=1)
    assert importance["first"][0] == pytest.approx(expected / expected.mean(), rel=1e-6)
    assert importance["third"][0].tolist() == [1.0, 1.0, 1.0]


def test_an_output_of_several_readers_has_the_sum_of_their_importances():
    model, _, importance = found(
        """
        g (float[N,4] x) => (float[N,3] y) <float[4,5] w, float[5,3] u, float[5,3] v>
        { [first] a = MatMul (x, w) r = Relu (a) b = MatMul (r, u) c = MatMul (r, v) y = Add (b, c) }
        """
    )
    expected = sum(np.square(c.values.astype(np.float64)).sum(axis=1) for c in model.constants() if c.shape == (5, 3))
    assert importance["first"][0] == pytest.approx(expected / expected.mean(), rel=1e-6)


@pytest.mark.parametrize("between", ["r = Softmax (a)", "r = Exp (a)", "s = ReduceSum (a) r = Add (a, s)"])
def test_other_readers_count_all_outputs_alike(between):
    _, _, importance = found(
        "g (float[N,4] x) => (float[N,3] y) <float[4,5] w, float[5,3] u> { [first] a = MatMul (x, w) "
        + between
        + " y = MatMul (r, u) }"
    )
    assert importance["first"].tolist() == [[1.0] * 5]


def test_an_output_without_readers_keeps_the_least_importance():
    model = from_text(HEAD + CHAIN)
    for constant in list(model.constants()):
        values = np.ones(constant.shape, np.float32)
        if constant.shape == (5, 3):
            values[2] = 0
        edit.replace_values(model, constant, values)
    nodes = [node for node in model.graph.nodes if node.is_op("Conv", "MatMul")]
    layers, _ = recognized(model, nodes, load({"x": np.ones((2, 2, 6, 6), np.float32)}, specs(model).inputs))
    importance = importances(model, layers.values())[nodes[1]]
    assert importance.tolist() == [[1.25, 1.25, LEAST, 1.25, 1.25]]


@pytest.mark.parametrize(
    "between",
    [
        "Softsign (a)",
        "Swish (a)",
        "ThresholdedRelu (a)",
        "Cast <to = 1> (a)",
        "PRelu (a, s)",
        "com.microsoft.QuickGelu (a)",
    ],
)
def test_activations_pass_the_importance_on(between):
    head = HEAD.replace("21]", '24, "com.microsoft" : 1]')
    body = f"[first] a = MatMul (x, w) r = {between} y = MatMul (r, u)"
    declared = "g (float[N,4] x) => (float[N,3] y) <float[4,5] w, float[5,3] u, float[5] s>"
    model, _, importance = found(f"{declared} {{ {body} }}", head)
    last = next(constant for constant in model.constants() if constant.shape == (5, 3))
    expected = np.square(last.values.astype(np.float64)).sum(axis=1)
    assert importance["first"][0] == pytest.approx(expected / expected.mean(), rel=1e-6)
