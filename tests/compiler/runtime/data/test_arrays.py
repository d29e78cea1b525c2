from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import TensorSpec, specs
from tests.compiler.runtime.nets import LINEAR, STATE, net

ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)
INPUTS = specs(net(LINEAR)).inputs


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"y": ROWS}, "array 'x' is missing; expected x: float32 [samples, 3]; labels (optional): one per sample"),
        ({"x": ROWS, "q": ROWS}, "'q' is not an input; expected x"),
        ({"x": ROWS[:, :2]}, "'x' has shape [10, 2]; expected x: float32 [samples, 3]"),
        ({"x": ROWS[0]}, "'x' has shape [3]"),
        ({"x": ROWS.astype(np.float64)}, "'x' is float64, which can't be converted to float32 without loss"),
        ({"x": ROWS.astype(np.int64)}, "'x' is int64"),
        ({"x": np.full((2, 3), "a")}, "'x' is <U1"),
        ({"x": ROWS, "labels": np.arange(9)}, "different numbers of samples: 'x' 10, 'labels' 9"),
        ({"x": ROWS, "labels": np.int64(3)}, "different numbers of samples"),
        ({"x": ROWS[:0]}, "no samples"),
    ],
)
def test_errors_say_what_was_expected(arrays: dict[str, np.ndarray], complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        load(arrays, INPUTS)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("u1", "f4"), ("i2", "f4"), ("f2", "f4"), ("i4", "i8"), ("?", "f4"), ("f4", "f8"), ("u1", "f2")],
)
def test_lossless_conversions_are_made(given: str, wanted: str) -> None:
    spec = TensorSpec("x", np.dtype(wanted), ("N", 2))
    found = next(load({"x": np.ones((3, 2), given)}, [spec]).batches(3))["x"]
    assert found.dtype == np.dtype(wanted)
    assert found.all()


def test_strings() -> None:
    spec = TensorSpec("x", np.dtype(object), ("N", 1))
    found = next(load({"x": np.array([["a"], ["bc"]])}, [spec]).batches(2))["x"]
    assert (found.dtype, found.tolist()) == (np.dtype(object), [["a"], ["bc"]])


def test_whole_inputs_come_with_each_sample_or_once_for_all() -> None:
    inputs = specs(net(STATE)).inputs
    audio = np.arange(15, dtype=np.float32).reshape(3, 5)
    states = np.arange(48, dtype=np.float32).reshape(3, 2, 1, 8)
    runs = list(load({"input": audio, "state": states, "sr": np.int64(16000)}, inputs).runs(32))
    assert len(runs) == 3
    np.testing.assert_array_equal(runs[1].feeds["input"], audio[1:2])
    np.testing.assert_array_equal(runs[1].feeds["state"], states[1])
    assert runs[1].feeds["sr"] == 16000
    assert runs[1].feeds["sr"].shape == ()
    rates = load({"input": audio, "state": states[0], "sr": np.array([8, 16, 8])}, inputs)
    assert [int(batch["sr"]) for batch in rates.batches()] == [8, 16, 8]


def test_a_whole_input_of_fixed_size_given_once_does_not_break_up_batches() -> None:
    inputs = [TensorSpec("x", np.dtype(np.float32), ("N", 3)), TensorSpec("k", np.dtype(np.float32), ())]
    once = load({"x": ROWS, "k": np.float32(2)}, inputs)
    assert [run.count for run in once.runs(8)] == [8, 2]
    each = load({"x": ROWS, "k": np.arange(10, dtype=np.float32)}, inputs)
    assert [float(batch["k"]) for batch in each.batches(8)] == list(range(10))


def test_a_column_of_labels_is_a_vector() -> None:
    assert load({"x": ROWS, "labels": np.ones((10, 1), int)}, INPUTS).labels.shape == (10,)  # type: ignore[union-attr]


def test_an_input_called_labels_is_an_input() -> None:
    inputs = [TensorSpec("labels", np.dtype(np.int64), ("N",))]
    dataset = load({"labels": np.arange(4)}, inputs)
    assert dataset.labels is None
    np.testing.assert_array_equal(next(dataset.batches())["labels"], np.arange(4))


def test_arrays_that_do_not_fit_other_inputs_are_named_with_the_remedy() -> None:
    with pytest.raises(DataError) as caught:
        load({"x": ROWS}, INPUTS).for_inputs([TensorSpec("x", np.dtype(np.float32), ("N", 2))])
    assert "data: 'x' has shape [10, 3]; expected x: float32 [samples, 2]" in str(caught.value)
    assert str(caught.value).endswith("or pictures (a folder or zip), which are read at any size")
