from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.timing.profile import (
    INSERTED,
    WARMUP,
    NodeNames,
    NodeTime,
    _by_name,
    _median_ms,
    profile,
    slower_nodes,
)
from tests.compiler.runtime.nets import BRANCHES, net

RNG = np.random.default_rng(0)
TEXT = """g (float[N,3,32,32] x) => (float[N,8] y) {{
  ["first"] c = Conv <pads = [1,1,1,1]> (x, k1)
  ["act"] r = Relu (c)
  ["second"] d = Conv <pads = [{pad},{pad},{pad},{pad}]> (r, k2)
  ["sum"] s = Add (d, r)
  ["act2"] t = Relu (s)
  ["pool"] p = GlobalAveragePool (t)
  f = Flatten (p)
  ["dense"] h = MatMul (f, w)
  ["bias"] y = Add (h, b)
}}"""
FEEDS = {"x": np.ones((1, 3, 32, 32), np.float32)}


def conv_net(kernel: int = 3) -> onnx.ModelProto:
    shapes = {"k1": (16, 3, 3, 3), "k2": (16, 16, kernel, kernel), "w": (16, 8), "b": (8,)}
    weights = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return net(TEXT.format(pad=kernel // 2), **weights)


def test_fused_nodes_have_the_name_of_their_layer() -> None:
    times = profile(conv_net(), FEEDS, runs=3)
    names = [item.name for item in times]
    assert {"first", "second", "dense"} <= set(names)
    assert all(item.ms > 0 for item in times)
    # Activations and sums are fused into the convolutions and have no time of their own.
    assert not {"act", "act2", "sum"} & set(names)
    known = {node.name for node in conv_net().graph.node} | {"f"}
    assert all(name in known or name.endswith(f"({INSERTED})") for name in names)


def test_the_layer_that_became_slower_is_named() -> None:
    found = slower_nodes(conv_net(3), conv_net(11), FEEDS, runs=10)
    assert found[0].name == "second"
    assert found[0].after_ms > 3 * found[0].before_ms > 0
    name, before, after = found[0]
    assert (name, before, after) == tuple(found[0])


def test_a_new_layer_counts_in_full() -> None:
    text = 'g (float[N,64] x) => (float[N,64] y) {{ ["old"] a = MatMul (x, w) {more} }}'
    weight = RNG.standard_normal((64, 64)).astype(np.float32)
    before = net(text.format(more='["same"] y = Identity (a)'), w=weight)
    after = net(text.format(more='["new"] b = Sin (a) ["new2"] c = Erf (b) ["same"] y = Identity (c)'), w=weight)
    found = slower_nodes(before, after, {"x": np.ones((500, 64), np.float32)}, runs=5)
    assert {item.name for item in found} >= {"new"}
    assert next(item for item in found if item.name == "new").before_ms == 0


def test_a_model_against_itself_has_hardly_any_slower_layer() -> None:
    same = [slower_nodes(conv_net(11), conv_net(11), FEEDS, runs=15) for _ in range(3)]
    assert any(not [item for item in found if item.name == "second"] for found in same)


def test_bodies_of_control_flow_are_profiled() -> None:
    feeds = {"c": np.array(True), "x": np.ones((1, 4), np.float32)}
    assert {item.name for item in profile(net(BRANCHES), feeds, runs=3)} >= {"choice", "inner"}


def test_nothing_is_left_in_the_current_folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # type: ignore[arg-type]
    profile(conv_net(), FEEDS, runs=1)
    assert not list(tmp_path.iterdir())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "op", "expected"),
    [
        ("first", "Conv", "first"),
        ("first_token_12", "Conv", "first"),
        ("dense/MatMulAddFusion", "Gemm", "dense"),
        ("fused dense", "FusedGemm", "dense"),
        ("r_nchwc", "Conv", "first"),
        ("t_nchwc", "Conv", "second"),
        ("d_nchwc", "Conv", "second"),
        ("Flatten_6", "Flatten", "f"),
        ("Flatten_7", "Flatten", f"Flatten ({INSERTED})"),
        ("ReorderOutput_token_3", "ReorderOutput", f"ReorderOutput ({INSERTED})"),
        ("", "Gemm", f"Gemm ({INSERTED})"),
    ],
)
def test_names_are_mapped_back(given: str, op: str, expected: str) -> None:
    assert NodeNames(Model.from_proto(conv_net())).of(given, op) == expected


@pytest.mark.parametrize(("alone", "fused"), [("d_nchwc", "short"), ("e_nchwc", "long")])
def test_a_sum_has_the_name_of_the_convolution_fused_with_it(alone: str, fused: str) -> None:
    text = """g (float[N,3,8,8] x) => (float[N,16,8,8] y) {
      ["long"] d = Conv (x, k1) ["short"] e = Conv (x, k2) ["sum"] s = Add (d, e) ["act"] y = Relu (s) }"""
    weights = {name: np.ones((16, 3, 1, 1), np.float32) for name in ("k1", "k2")}
    given = [("ReorderInput", "ReorderInput"), (alone, "Conv"), ("y_nchwc", "Conv")]
    found = NodeNames(Model.from_proto(net(text, **weights))).of_all(given)
    assert found[2] == fused
    assert {found[1], found[2]} == {"long", "short"}


def test_nodes_of_the_same_name_are_added() -> None:
    times = [NodeTime("a", "Conv", 1.5), NodeTime("b", "Relu", 1), NodeTime("a", "Conv", 2)]
    assert _by_name(times) == {"a": 3.5, "b": 1}


def test_a_node_in_a_loop_counts_every_iteration() -> None:
    warmup = [900] * (3 * WARMUP)
    assert _median_ms([*warmup, 100, 200, 300, 100, 200, 300], runs=2) == pytest.approx(0.6)
