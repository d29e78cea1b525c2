from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.feeds import as_arrays, fits, fitting
from onnx_compress.compiler.runtime.specs import specs
from tests.compiler.runtime.nets import net

INPUTS = specs(net("g (float[N,3] x, int64[2] i, string[N] s) => (float[N,3] y) { y = Identity (x) }")).inputs
GOOD = {"x": np.ones((5, 3), np.float32), "i": np.array([1, 2]), "s": np.array(["a", "bc"])}


def test_inputs_are_given_as_the_model_takes_them():
    turned = np.ones((3, 5), np.float32).T
    found = fitting(INPUTS, {**GOOD, "x": turned, "unknown": np.zeros(1)})
    assert list(found) == ["x", "i", "s"]
    assert found["x"].flags.c_contiguous
    assert found["s"].dtype == object
    assert found["s"].tolist() == ["a", "bc"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "input 'x' is missing; the model takes .*x.*"),
        ({"x": np.ones((5, 3))}, r"input 'x' has type float64; the model takes .*float32.*"),
        ({"x": np.ones((5, 4), np.float32)}, r"input 'x' has shape \[5, 4\]; the model takes"),
        ({"x": np.ones(3, np.float32)}, r"input 'x' has shape \[3\]"),
        ({"i": np.array([1, 2, 3])}, r"input 'i' has shape \[3\]"),
        ({"i": np.array([1, 2], np.int32)}, "input 'i' has type int32"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    feeds = {name: array for name, array in {**GOOD, **change}.items() if array is not None}
    with pytest.raises(DataError, match=message):
        fitting(INPUTS, feeds)


def test_an_input_that_is_not_a_tensor_is_named():
    inputs = specs(net("g (seq(float[N]) x) => (float y) <int64 i = {0}> { y = SequenceAt (x, i) }")).inputs
    with pytest.raises(DataError, match=r"input 'x' is a .*; only tensors are supported"):
        fitting(inputs, {"x": np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    ("shape", "declared", "expected"),
    [
        ((2, 3), None, True),
        ((2, 3), ("N", 3), True),
        ((2, 3), (None, 3), True),
        ((2, 3), (2, 4), False),
        ((2, 3), ("N",), False),
        ((), (), True),
    ],
)
def test_shapes(shape, declared, expected):
    assert fits(shape, declared) == expected


def test_results_are_arrays():
    assert as_arrays("y", None) == {}
    np.testing.assert_array_equal(as_arrays("y", np.ones(2))["y"], [1, 1])
    assert {name: array.tolist() for name, array in as_arrays("y", [np.zeros(1), np.ones(2)]).items()} == {
        "y[0]": [0],
        "y[1]": [1, 1],
    }
    assert as_arrays("y", []) == {}
    assert as_arrays("y", {3: 0.25, 5: 0.75})["y"].tolist() == [[0.25, 0.75]]
    assert as_arrays("y", [{3: 0.25, 5: 0.75}, {3: 1.0, 5: 0.0}])["y"].tolist() == [[0.25, 0.75], [1.0, 0.0]]
