from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.passes.quantize._float16.limits import loss, range_loss

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "values",
    [
        RNG.standard_normal(1000),
        np.float32([65504, -65504]),
        np.float32([0, 0]),
        np.float32([]),
        np.float32([np.inf, np.nan]),
        np.float32([1, 1e-9]),  # a value that vanishes next to larger ones
        np.float32([2.0**-14]),
    ],
)
def test_what_float16_holds(values):
    assert loss(np.asarray(values, np.float32)) == ""


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1, 70000], "holds 7e+04, beyond float16's 65504"),
        ([-1e38, np.nan], "holds 1e+38, beyond float16's 65504"),
        ([1e-9, 2e-9], "holds nothing above 2e-09, which becomes 0 in float16"),
        ([1e-6, 1.03e-6, 0.97e-6], "has a relative error of"),
    ],
)
def test_what_it_does_not(values, reason):
    assert loss(np.array(values, np.float32)).startswith(reason)


def test_the_error_is_that_of_rounding():
    values = np.float32([1e-6, 1.03e-6, 0.97e-6])
    rounded = values.astype(np.float16).astype(np.float64)
    expected = np.linalg.norm(rounded - values) / np.linalg.norm(values)
    assert loss(values) == f"has a relative error of {expected:.1%} in float16"


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [
        (-1.0, 1.0, ""),
        (0.0, 0.0, ""),
        (-65504.0, 1.0, ""),
        (-70000.0, 1.0, "reaches 7e+04, beyond float16's 65504"),
        (0.0, 1e-5, "stays below 1e-05, where float16 has little precision"),
    ],
)
def test_computed_values(low, high, reason):
    assert range_loss(low, high) == reason
