"""Constant channels: every claimed constant is one in onnxruntime, on every net."""

import numpy as np
import pytest

from models.nets import build, get, names
from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.constants import Constants
from onnx_compress.compiler.analysis.contractions import contractions
from onnx_compress.compiler.ir.graph import Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime.session import create
from tests.pruning import zeroed

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
CLOSE = 1e-5
Claims = dict[tuple[str, int], np.ndarray]


def claims_of(model: Model) -> Claims:
    """The claimed constants of each value and axis of the main graph."""
    groups = ChannelGroups.of(model)
    known = Constants(model, groups, contractions(model, groups.walk))
    tensors = [out for node in model.graph.nodes for out in node.outputs if isinstance(out, Variable)]
    found = {(t.name, i): known.along(t, i) for t in tensors for i in range(known.axes.rank(t))}
    return {key: values for key, values in found.items() if values is not None}


def wrong(model: Model, claims: Claims, feeds: dict[str, np.ndarray]) -> list[tuple[str, int]]:
    """The claims that fail for these inputs."""
    given = {tensor.name for tensor in model.outputs()}
    values = create(model, outputs=sorted({name for name, _ in claims} - given)).run(feeds)
    found = []
    for (name, axis), claimed in claims.items():
        rows = np.moveaxis(values[name], axis, 0).reshape(values[name].shape[axis], -1)
        is_known = ~np.isnan(claimed)
        scale = np.abs(values[name]).max() or 1.0
        if np.abs(rows[is_known] - claimed[is_known, None]).max() > CLOSE * scale:
            found.append((name, axis))
    return found


@pytest.mark.torch
@pytest.mark.parametrize("name", names())
def test_claims_hold_on_every_net(name):
    """Every second filter is zero but keeps its bias, so its channel is constant in the layers behind it."""
    model = Model.from_proto(build(name, exporter="torchscript"))
    zero = zeroed(model, which=lambda place: place.role == "out")
    claims = claims_of(zero)
    assert len(claims) > 1
    assert not wrong(zero, claims, get(name).feeds(2, seed=0))
    assert not wrong(zero, claims, get(name).feeds(3, seed=1))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet_basic", "mobilenet_v3", "bilstm"])
def test_nothing_is_constant_in_a_dense_net(name):
    assert claims_of(Model.from_proto(build(name))) == {}


def known_in(graph: str) -> dict[str, list[float]]:
    """The constants of each value along its last tracked axis, in a model whose channel 0 is constant."""
    model = from_text(HEAD + graph)
    claims = claims_of(model)
    feeds = {t.name: np.random.default_rng(0).standard_normal(t.shape).astype(np.float32) for t in model.inputs()}
    assert not wrong(model, claims, feeds)
    return {name: np.round(values, 4).tolist() for (name, _), values in claims.items()}


START = "<float[2,1,1] w = {0, 1}, float[2] b = {2, 0}, float[3,2,1] next>"
NAN = pytest.approx(float("nan"), nan_ok=True)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("Neg (a)", -2.0),
        ("Elu (a)", 2.0),
        ("Mul (a, a)", 4.0),
        ("MaxPool <kernel_shape = [2], pads = [1,0]> (a)", 2.0),
        ("AveragePool <kernel_shape = [2], pads = [1,0]> (a)", 2.0),
        ("GlobalAveragePool (a)", 2.0),
        ("InstanceNormalization (a, b, b)", [NAN, 0.0]),
        ("AveragePool <kernel_shape = [2], pads = [1,0], count_include_pad = 1> (a)", None),
        ("GlobalLpPool (a)", None),
        ("Softmax <axis = 2> (a)", None),
    ],
)
def test_operators_that_propagate_a_constant(op, expected):
    found = known_in(f"g (float[1,1,6] x) => (float y) {START} {{ a = Conv (x, w, b) c = {op} y = ReduceSum (c) }}")
    assert found["a"] == [2.0, NAN]
    assert found.get("c") == ([expected, NAN] if isinstance(expected, float) else expected)


def test_uniform_layers_propagate_constants():
    text = "g (float[1,1,6] x) => (float y) {start} {{ a = Conv (x, w, b) z = Conv{pads} (a, v) y = ReduceSum (z) }}"
    start = START.replace("next", "v = {1, 0, 3, 4, 0.5, 0}")
    assert known_in(text.format(start=start, pads=""))["z"] == [2.0, NAN, 1.0]
    assert "z" not in known_in(text.format(start=start, pads=" <pads = [1,1]>"))


def test_parts_are_concatenated_by_position():
    """A channel and its Neg are removed together, but have different values."""
    text = (
        "g (float[1,1,6] x) => (float y) {start} {{ a = Conv (x, w, b) n = Neg (a)"
        " c = Concat <axis = {axis}> ({parts}) y = ReduceSum (c) }}"
    )
    along = known_in(text.format(start=START, axis=1, parts="n, a"))
    assert along["c"] == [-2.0, NAN, 2.0, NAN]
    across = known_in(text.format(start=START, axis=2, parts="a, a"))
    assert across["c"] == [2.0, NAN]
    assert "c" not in known_in(text.format(start=START, axis=2, parts="a, n"))
    assert "c" not in known_in(text.format(start=START, axis=2, parts="n, a"))


def test_nothing_is_known_where_different_values_meet():
    """Heads are distinguished from each other, but not the channels inside one."""
    text = (
        "g (float[1,1] x) => (float y)"
        "<float[1,4] w = {1, 0, 0, 0}, float[4] b = {0, 1, 2, 2}, int64[2] heads = {2, 2}>"
        "{ m = MatMul (x, w) a = Add (m, b) c = Reshape (a, heads) y = ReduceSum (c) }"
    )
    found = known_in(text)
    assert found["a"] == [NAN, 1.0, 2.0, 2.0]
    assert found["c"] == [NAN, 2.0]


def test_a_default_start_is_needed_for_a_state_to_stay():
    weights = (
        "<float[1,8,1] w = {1, 2, 3, 4, 5, 6, 7, 0}, float[1,8,2] r = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 0, 0}>"
    )
    plain = (
        f"g (float[3,1,1] x) => (float y) {weights}"
        ' { h, "", "" = LSTM <hidden_size = 2> (x, w, r) y = ReduceSum (h) }'
    )
    begun = (
        f"g (float[3,1,1] x, float[1,1,2] start) => (float y) {weights}"
        ' { h, "", "" = LSTM <hidden_size = 2> (x, w, r, "", "", start) y = ReduceSum (h) }'
    )
    assert known_in(plain)["h"] == [NAN, 0.0]
    assert known_in(begun) == {}
