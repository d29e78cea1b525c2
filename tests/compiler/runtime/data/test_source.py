from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.data.source import (
    check_array,
    chunks,
    converted,
    expected,
    is_shared,
    samples_shape,
)
from onnx_compress.compiler.runtime.specs import TensorSpec

X = TensorSpec("x", np.dtype(np.float32), ("N", 3))
WHOLE = TensorSpec("k", np.dtype(np.int64), (2,))
ANY = TensorSpec("a", np.dtype(np.float32), None)
LAYOUT = BatchLayout.of((X, WHOLE, ANY))


def test_the_expected_data_are_described() -> None:
    assert expected(LAYOUT) == (
        "x: float32 [samples, 3]; k: int64 [samples, 2], or once for all samples without that axis; "
        "a: float32 of any shape; labels (optional): one per sample"
    )


def test_samples_lie_along_axis_0() -> None:
    assert [samples_shape(LAYOUT, spec) for spec in (X, WHOLE, ANY)] == [(None, 3), (None, 2), None]


def test_only_a_whole_input_is_shared() -> None:
    assert is_shared(LAYOUT, WHOLE, np.zeros(2, np.int64))
    assert not is_shared(LAYOUT, WHOLE, np.zeros((5, 2), np.int64))
    assert not is_shared(LAYOUT, X, np.zeros((5, 3), np.float32))


@pytest.mark.parametrize(
    ("spec", "array"),
    [(X, np.zeros((5, 3), np.float16)), (WHOLE, np.zeros(2, np.int32)), (WHOLE, np.zeros((5, 2), np.uint8))],
)
def test_arrays_that_fit(spec: TensorSpec, array: np.ndarray) -> None:
    check_array(LAYOUT, spec, array, "d.npz")
    assert converted(array, spec.dtype).dtype == spec.dtype


@pytest.mark.parametrize(
    ("spec", "array", "complaint"),
    [
        (X, np.zeros((5, 4), np.float32), r"d\.npz: 'x' has shape \[5, 4\]"),
        (X, np.zeros((5, 3), np.float64), "'x' is float64"),
        (WHOLE, np.zeros(3, np.int64), r"'k' has shape \[3\]"),
        (WHOLE, np.zeros(2, np.uint64), "'k' is uint64"),
        (X, np.full((5, 3), "a"), "'x' is <U1"),
    ],
)
def test_arrays_that_do_not_fit(spec: TensorSpec, array: np.ndarray, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        check_array(LAYOUT, spec, array, "d.npz")


def test_runs_of_indices() -> None:
    assert [run.tolist() for run in chunks([5, 3, 1, 4, 2], 2)] == [[5, 3], [1, 4], [2]]
    assert list(chunks([], 2)) == []
