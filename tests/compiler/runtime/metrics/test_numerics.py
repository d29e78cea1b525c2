from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.metrics.numerics import Numerics, _Tally, numerics, worst
from onnx_compress.compiler.runtime.outputs import Recording
from tests.compiler.runtime.nets import FIXED, IDENTITY, LINEAR, ZIPMAP, net

ROWS = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)


def compared(*pairs: tuple[object, object], dtype: type = np.float32) -> Numerics:
    tally = _Tally()
    for expected, found in pairs:
        tally.add(np.array(expected, dtype), np.array(found, dtype))
    return tally.result()


def test_the_figures_are_over_all_batches() -> None:
    found = compared(([3, 0], [3, 1]), ([0, -4], [0, -2]))
    assert found.max_abs == 2
    assert found.scale == 4
    assert found.cosine == pytest.approx((9 + 8) / (5 * math.sqrt(9 + 1 + 4)))
    assert found.sqnr_db == pytest.approx(10 * math.log10(25 / 5))
    assert found.elements == 4


def test_equal_outputs() -> None:
    found = compared(([1, 2], [1, 2]))
    assert (found.max_abs, found.cosine, found.sqnr_db) == (0, pytest.approx(1), math.inf)
    assert found.within(0.0)


def test_zeros() -> None:
    assert compared(([0, 0], [0, 0])).cosine == 1
    lost = compared(([0, 0], [0, 1]))
    assert (lost.cosine, lost.sqnr_db, lost.within(0.5)) == (0, -math.inf, False)


@pytest.mark.parametrize(("error", "is_within"), [(0.9e-5, True), (1.1e-5, False)])
def test_the_tolerance_is_a_share_of_the_scale(error: float, is_within: bool) -> None:
    found = compared(([100, 1], [100, 1 + 100 * error]), dtype=np.float64)
    assert found.within() is is_within
    assert found.within(2e-5)
    assert not found.within(0.5e-5)


def test_half_precision_may_be_off_by_two_of_its_steps() -> None:
    step = 2.0**-10
    assert compared(([1], [1 + 2 * step]), dtype=np.float16).within()
    assert not compared(([1], [1 + 3 * step]), dtype=np.float16).within()
    assert not compared(([1], [1 + 2 * step]), dtype=np.float32).within()


@pytest.mark.parametrize(
    ("expected", "found", "count"),
    [
        ([1, 2, 3], [1, math.nan, math.inf], 2),
        ([math.nan, math.inf, -math.inf], [math.nan, math.inf, -math.inf], 0),
        ([math.inf, math.nan, math.inf], [-math.inf, 1, 5], 3),
    ],
)
def test_nan_and_infinity_are_counted_where_only_one_has_them(
    expected: list[float], found: list[float], count: int
) -> None:
    result = compared((expected, found))
    assert result.nonfinite == count
    assert result.within(1.0) is (count == 0)
    assert math.isfinite(result.max_abs)


def test_integers_booleans_and_strings_are_compared_exactly() -> None:
    assert compared(([1, 2, 3], [1, 2, 4]), dtype=np.int64).mismatched == 1
    assert compared(([True, False], [True, True]), dtype=np.bool_).mismatched == 1
    strings = compared((["a", "b"], ["a", "c"]), dtype=object)
    assert (strings.mismatched, strings.elements, strings.within(1.0)) == (1, 2, False)
    assert compared(([2**62 + 1], [2**62]), dtype=np.int64).mismatched == 1


def test_differing_shapes_and_types_are_reported() -> None:
    tally = _Tally()
    tally.add(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))
    assert tally.result().problem == "shape [2, 4] instead of [2, 3]"
    assert not tally.result().within(1.0)
    other = _Tally()
    other.add(np.zeros(2, np.float32), np.zeros(2, np.float64))
    assert other.result().problem == "type float64 instead of float32"


def test_the_text_form() -> None:
    assert str(compared(([1, 2], [1, 3]), dtype=np.int64)) == "1 of 2 elements differ"
    assert "1 NaN or infinite in only one" in str(compared(([1, 2], [1, math.nan])))
    assert str(compared(([4], [3]))) == "max |Δ| 1 at scale 4, cosine 1.000000, SQNR 12.0 dB"


def test_two_models_on_a_dataset() -> None:
    reference = session.create(net(LINEAR))
    other = session.create(net(LINEAR.replace("1, -1}", "1, -2}")))
    data = load({"x": ROWS}, reference.inputs)
    found = numerics(reference, other, data, size=4)["y"]
    assert found.max_abs == pytest.approx(np.abs(ROWS[:, 2]).max())
    assert found.elements == 20
    recorded = numerics(Recording.of(reference, data, 4), other, data, size=4)["y"]
    assert recorded == found
    assert numerics(reference, reference, data)["y"].max_abs == 0


def test_a_missing_output_is_reported() -> None:
    reference, other = (
        session.create(net(LINEAR)),
        session.create(net(LINEAR.replace(" y)", " z)").replace("] y =", "] z ="))),
    )
    found = numerics(reference, other, load({"x": ROWS}, reference.inputs))
    assert {name: result.problem for name, result in found.items()} == {
        "y": "only one of the models has this output",
        "z": "only one of the models has this output",
    }


def test_a_fixed_batch_is_compared_without_its_padding() -> None:
    reference = session.create(net(FIXED))
    found = numerics(reference, reference, load({"x": ROWS}, reference.inputs))
    assert found["y"].elements == 30


def test_maps_are_compared_as_matrices() -> None:
    reference = session.create(net(ZIPMAP))
    found = numerics(reference, reference, load({"p": ROWS}, reference.inputs))
    assert found["scores"].elements == 30
    assert found["scores"].within(0)


def test_the_worst_output() -> None:
    good, bad = compared(([1.0], [1.01])), compared(([1.0], [2.0]))
    broken = compared(([1.0], [math.nan]))
    missing = Numerics(math.inf, 1, 0, -math.inf, problem="gone")
    assert worst({"a": good, "b": bad}) is bad
    assert worst({"a": bad, "b": broken}) is broken
    assert worst({"a": broken, "b": missing}) is missing


def test_identity_is_exact() -> None:
    loaded = session.create(net(IDENTITY))
    data = load({"x": ROWS * np.float32(1e30)}, loaded.inputs)
    assert numerics(loaded, loaded, data)["y"].sqnr_db == math.inf
