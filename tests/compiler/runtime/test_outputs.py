from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import OutputError
from onnx_compress.compiler.runtime import outputs as module
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.data.dataset import Dataset, load
from onnx_compress.compiler.runtime.outputs import Recording, batch_size, outputs
from tests.compiler.runtime.nets import FIXED, LINEAR, net

ROWS = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)


def given(loaded: session.Session, rows: np.ndarray = ROWS) -> Dataset:
    return load({"x": rows}, loaded.inputs)


def test_outputs_follow_the_samples() -> None:
    loaded = session.create(net(LINEAR))
    found = list(outputs(loaded, given(loaded), 4))
    assert [batch.count for batch, _ in found] == [4, 4, 2]
    expected = ROWS @ np.array([[1, 0], [0, 1], [1, -1]], np.float32)
    np.testing.assert_allclose(np.concatenate([arrays["y"] for _, arrays in found]), expected, rtol=1e-5)


def test_rows_that_pad_a_fixed_batch_are_cut() -> None:
    loaded = session.create(net(FIXED))
    found = [arrays for _, arrays in outputs(loaded, given(loaded))]
    assert [arrays["y"].shape for arrays in found] == [(4, 3), (4, 3), (2, 3)]
    assert [arrays["s"].shape for arrays in found] == [(1,)] * 3


def test_only_the_requested_outputs() -> None:
    loaded = session.create(net(FIXED))
    assert set(next(outputs(loaded, given(loaded), 4, ["s"]))[1]) == {"s"}


def size_for(text: str, rows: np.ndarray = ROWS, wanted: int = 32) -> int:
    loaded = session.create(net(text))
    return batch_size(loaded, given(loaded, rows), wanted)


def test_a_free_batch_takes_the_wanted_size() -> None:
    assert size_for(LINEAR) == 32
    assert size_for(LINEAR, wanted=1) == 1
    assert size_for(FIXED) == 4


@pytest.mark.parametrize(
    "body",
    [
        "<int64[2] one = {1, -1}> { y = Reshape (x, one) }",  # the shape of one sample, written into the graph
        "<int64[2] one = {1, 3}> { y = Reshape (x, one) }",  # fails with two
        "{ y = Softmax <axis = 0> (x) }",  # samples interact
        "{ y = ReduceMean <keepdims = 0> (x) }",  # one result for all
    ],
)
def test_a_batch_of_one_that_only_claims_to_be_free(body: str) -> None:
    assert size_for(f"g (float[N,3] x) => (float[?,?] y) {body}") == 1


def test_large_samples_go_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 5 * 12)
    assert size_for(LINEAR) == 5
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    assert size_for(LINEAR) == 1


SETS = [
    {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "s": np.array(["x", "yz"], object)},
    {"a": np.float64(3.5).reshape(()), "empty": np.zeros((2, 0), np.int8)},
    {"h": np.arange(6, dtype=np.float16)[::2]},
]


@pytest.mark.parametrize("in_memory", [1 << 20, 8])
def test_a_recording_returns_what_was_appended(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", in_memory)
    recording = Recording()
    for arrays in SETS:
        recording.append(arrays)
    for _ in range(2):
        for expected, found in zip(SETS, recording, strict=True):
            assert list(found) == list(expected)
            for name, array in expected.items():
                assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
                np.testing.assert_array_equal(found[name], array)
    recording.append(SETS[0])
    assert len(list(recording)) == len(recording) == 4


def test_a_recording_of_a_model() -> None:
    loaded = session.create(net(LINEAR))
    recording = Recording.of(loaded, given(loaded), 4)
    for (_, expected), found in zip(outputs(loaded, given(loaded), 4), recording, strict=True):
        np.testing.assert_array_equal(found["y"], expected["y"])


def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording()

    class Full:
        def seek(self, *place: int) -> int:
            return 0

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "_file", Full())
    with pytest.raises(OutputError, match="can't store outputs for comparison: No space left"):
        recording.append(SETS[0])
