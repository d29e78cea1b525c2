from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.data.input_hints import hints_of
from onnx_compress.compiler.runtime.data.synthetic import SyntheticSource, synthetic
from onnx_compress.compiler.runtime.specs import TensorSpec
from tests.compiler.runtime.nets import FIXED, STATE, net

TABLES = {"words": np.ones((50, 4), np.float32), "places": np.ones((20, 4), np.float32)}
TEXT = """g (int64[N,T] ids, int64[T] positions) => (float[N,T,4] y) {
  flat = Cast <to = 6> (ids)
  a = Gather (words, flat)
  b = Gather (places, positions)
  y = Add (a, b)
}"""
RATE = """g (float[N,S] x, int64 rate) => (float[N,S] y) <int64 known = {16000}> {
  is_known = Equal (rate, known)
  y = If (is_known) <
    then_branch = t () => (float[N,S] a) { a = Relu (x) },
    else_branch = e () => (float[N,S] b) <int64[1] bad = {3}> { b = Reshape (x, bad) }
  >
}"""
LENGTHS = """g (float[N,S] x, int64[N] lengths) => (float[N,K] y) <int64[1] one = {1}, int64[1] zero = {0}> {
  y = Slice (x, zero, lengths, one)
}"""

MODELS = {
    "embedding": net(TEXT, **TABLES),
    "state": net(STATE),
    "fixed batch": net(FIXED),
    "no inputs": net("g () => (float[1] y) { y = Constant <value = float[1] {2}> () }"),
    "strings": net("g (string[N,2] x) => (string[N,2] y) { y = Identity (x) }"),
    "other types": net(
        "g (float16[N,5] x, bool[N] c, double k, uint8[N,2] u) => (float16[N,5] y, bool[N] d, double l, uint8[N,2] v)"
        " { y = Relu (x) d = Not (c) l = Neg (k) v = Identity (u) }"
    ),
    "time first": net("g (float[T,batch,8] x) => (float[T,batch,8] y) { y = Relu (x) }"),
    "compared": net(RATE),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_model_runs_on_all_synthetic_inputs(name: str) -> None:
    dataset = synthetic(MODELS[name], samples=5)
    loaded = session.create(MODELS[name])
    outputs = [loaded.run(feeds) for feeds in dataset.batches(2)]
    assert outputs
    assert not dataset.real
    assert dataset.labels is None


def test_the_same_seed_gives_the_same_samples_however_they_are_read() -> None:
    model = net("g (float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu (x) }")
    together = next(synthetic(model, samples=6, seed=3).batches(6))["x"]
    apart = np.concatenate([batch["x"] for batch in synthetic(model, samples=6, seed=3).batches(1)])
    np.testing.assert_array_equal(together, apart)
    part = synthetic(model, samples=6, seed=3).take(2)
    np.testing.assert_array_equal(next(part.batches(2))["x"], together[part.indices])
    assert not np.array_equal(together, next(synthetic(model, samples=6, seed=4).batches(6))["x"])
    assert len(np.unique(together[:, 0, 0, 0])) == 6


def test_indices_stay_inside_the_table_and_use_it() -> None:
    ids = np.concatenate([batch["ids"] for batch in synthetic(MODELS["embedding"], samples=30).batches()])
    assert 40 < ids.max() < 50
    assert ids.min() >= 0


def test_hints_look_through_nodes_that_keep_values() -> None:
    assert hints_of(MODELS["embedding"]).below == {"ids": 50, "positions": 20}
    assert hints_of(Model.from_proto(net(RATE))).equal == {"rate": 16000}


def test_a_value_that_the_graph_compares_with_is_tried() -> None:
    assert next(synthetic(net(RATE)).batches())["rate"] == 16000


def test_floats_are_drawn_so_that_outputs_are_finite() -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { s = Sqrt (x) y = Reciprocal (s) }"
    for batch in synthetic(net(text), samples=20).batches():
        assert np.isfinite(session.create(net(text)).run(batch)["y"]).all()


def test_sizes_are_drawn_so_that_outputs_are_not_zero() -> None:
    text = """g (float[1,samples] x) => (float[1,rest] y)
    <int64[1] a = {400}, int64[1] b = {9999}, int64[1] axis = {1}> {
      y = Slice (x, a, b, axis)
    }"""
    assert next(synthetic(net(text)).batches())["x"].shape[1] > 400


def test_the_names_of_dimensions_hold_across_inputs() -> None:
    text = "g (float[N,T,4] x, float[N,U,4] z, float[T,U] m) => (float[N,T,4] y) { a = MatMul (m, z) y = Add (a, x) }"
    batch = next(synthetic(net(text)).batches())
    assert batch["m"].shape == (batch["x"].shape[1], batch["z"].shape[1])


def test_pictures_get_three_channels_and_space() -> None:
    free = next(synthetic(net("g (float[?,?,?,?] x) => (float[?,?,?,?] y) { y = Relu (x) }")).batches(1))["x"]
    assert free.shape == (1, 3, 64, 64)
    last = next(synthetic(net("g (uint8[?,?,?,3] x) => (uint8[?,?,?,3] y) { y = Identity (x) }")).batches(1))["x"]
    assert last.shape == (1, 64, 64, 3)
    assert last.max() > 200


def test_a_state_is_as_wide_as_one_sample() -> None:
    batch = next(synthetic(net(STATE)).batches(8))
    assert (batch["input"].shape[0], batch["state"].shape) == (1, (2, 1, 8))


def test_whole_inputs_are_the_same_for_all_samples() -> None:
    text = "g (float[N,3] x, float[3] scale) => (float[N,3] y) { y = Mul (x, scale) }"
    first, second = synthetic(net(text), samples=4).batches(2)
    np.testing.assert_array_equal(first["scale"], second["scale"])
    assert first["x"].shape == (2, 3)


def test_a_model_that_runs_on_no_guess() -> None:
    text = "g (float[N,4] x) => (float[N,5] y) <int64[2] s = {-1, 5}> { y = Reshape (x, s) }"
    with pytest.raises(DataError, match=r"runs on none of the synthetic inputs tried .*Reshape.*: give --data"):
        synthetic(net(text))


def test_an_input_that_is_not_a_tensor() -> None:
    model = net("g (float[N] x) => (float[N] y) <int64 i = {0}> { s = SequenceConstruct (x) y = SequenceAt (s, i) }")
    sequence = onnx.helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, None)
    del model.graph.input[:], model.graph.node[0]
    model.graph.input.append(sequence)
    with pytest.raises(DataError, match="input 's' is a sequence"):
        synthetic(model)


def test_a_session_at_hand_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = session.create(MODELS["state"])
    monkeypatch.setattr("onnx_compress.compiler.runtime.data.synthetic.create", pytest.fail)
    source = synthetic(MODELS["state"], samples=3, session=loaded).source
    assert isinstance(source, SyntheticSource)


def test_for_other_inputs_samples_are_drawn_again() -> None:
    dataset = synthetic(net(FIXED), samples=6, seed=3)
    (spec,) = dataset.layout.inputs
    wider = [TensorSpec(spec.name, spec.dtype, (*spec.shape[:-1], 5))]
    other = dataset.take(4).for_inputs(wider)
    assert len(other) == 4
    assert next(other.batches())[spec.name].shape[1:] == (5,)
    again = dataset.take(4).for_inputs(wider)
    np.testing.assert_array_equal(next(other.batches())[spec.name], next(again.batches())[spec.name])
