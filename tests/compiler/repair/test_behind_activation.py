"""Fits of layers behind a Relu or Clip: compared with brute force; which operators count as bounds."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.repair.behind_activation import Bounds, Rectified, bounds_behind
from onnx_compress.compiler.repair.solve.equations import Equations, Free
from tests.compiler.repair.test_layers import recognized

RELU6 = Bounds(0.0, 6.0)


def problem(bounds, seed=0, rows=400, unknowns=6, outputs=3):
    """Rows whose targets some weights reach behind the bounds, but no weights reach everywhere."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, rows, unknowns))
    truth = rng.standard_normal((1, unknowns, outputs))
    targets = x @ truth
    # Targets beyond the bounds carry no information: any value beyond is as good.
    beyond = rng.exponential(3.0, targets.shape)
    targets = np.where(targets <= bounds.low, bounds.low - beyond, targets)
    targets = np.where(targets >= bounds.high, bounds.high + beyond, targets)
    equations = Equations.zeros(1, unknowns, outputs)
    equations.add(x, targets)
    rectified = Rectified(bounds, 1 << 30)
    rectified.add(x, targets, np.zeros_like(targets))
    return x, truth, targets, equations, rectified


@pytest.mark.parametrize(
    ("bounds", "left"),
    [(Bounds(0.0, np.inf), 3e-4), (Bounds(-1.0, 1.0), 0.03), (Bounds(-np.inf, 0.5), 6e-6)],
    ids=["from 0", "from -1 to 1", "to 0.5"],
)
def test_values_beyond_the_bounds_do_not_affect_the_fit(bounds, left):
    x, truth, targets, equations, rectified = problem(bounds)
    start, shift = np.zeros_like(truth), np.zeros((1, 3))
    free = Free(1e-9)
    linear = equations.solve(start, shift, free)
    solver = equations.solver(start, shift, free).repeated()
    found = rectified.refine(solver, *linear)
    expected = np.square(bounds.clip(x @ found[0] + found[1][:, None]) - bounds.clip(targets)).sum()
    assert rectified.error(*found) == pytest.approx(expected, rel=1e-4)
    # Plain least squares is far off, because it fits the values beyond the bounds.
    assert rectified.error(*found) < left * rectified.error(*linear)
    assert np.abs(found[0] - truth).max() < 0.3 * np.abs(linear[0] - truth).max()


def test_no_round_makes_it_worse():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 50, 4)), rng.standard_normal((2, 50, 3))
    equations = Equations.zeros(2, 4, 3)
    equations.add(x, y)
    rectified = Rectified(Bounds(0.0, np.inf), 1 << 30)
    rectified.add(x, y, np.zeros_like(y))
    start = np.zeros((2, 4, 3)), np.zeros((2, 3))
    linear = equations.solve(*start, Free(1e-6))
    found = rectified.refine(equations.solver(*start, Free(1e-6)).repeated(), *linear)
    assert rectified.error(*(found or linear)) <= rectified.error(*linear)


def test_an_addend_before_the_bounds_moves_them():
    rectified = Rectified(Bounds(0.0, np.inf), 1 << 30)
    x, targets, addend = np.ones((1, 2, 1)), np.array([[[1.0], [-9.0]]]), np.array([[[2.0], [4.0]]])
    rectified.add(x, targets, addend)
    # Outputs z + addend: the target 3 needs 3; the target -5 allows anything up to 0, which z = -4 just reaches.
    weights = np.array([[[-4.0]]])
    assert rectified.error(weights, np.zeros((1, 1))) == pytest.approx(3.0**2)


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ("y = Relu (c)", Bounds(0.0, np.inf)),
        (
            "lo = Constant <value_float = 0.0> () hi = Constant <value_float = 6.0> () y = Clip (c, lo, hi)",
            Bounds(0, 6),
        ),
        ("hi = Constant <value_float = 6.0> () y = Clip (c, , hi)", Bounds(-np.inf, 6.0)),
        ("a = Relu (c) b = Relu (c) y = Add (a, b)", Bounds(0.0, np.inf)),
        ("a = Relu (c) b = Sigmoid (c) y = Add (a, b)", None),
        ("y = LeakyRelu (c)", None),
        ("lo = ReduceMin <keepdims = 0> (x) y = Clip (c, lo)", None),
    ],
)
def test_bounds_are_those_that_all_readers_share(behind, expected):
    layer, _, model = recognized(
        f"g (float[2,3,5,5] x) => (float[2,4,5,5] y) <float[4,3,1,1] w> {{ c = Conv (x, w) {behind} }}"
    )
    assert bounds_behind(layer.result, _view(model)) == expected


def test_an_output_of_the_model_has_no_bounds():
    layer, _, model = recognized(
        "g (float[2,3,5,5] x) => (float[2,4,5,5] y, float[2,4,5,5] c) <float[4,3,1,1] w> "
        "{ c = Conv (x, w) y = Relu (c) }"
    )
    assert bounds_behind(layer.result, _view(model)) is None


def _view(model):
    from onnx_compress.compiler.repair.present_activations import static_values
    from onnx_compress.compiler.repair.refittable_layers import View

    return View(model, static_values(model), {})


def test_rounds_stop_at_their_budget():
    _, _, _, equations, rectified = problem(Bounds(-1.0, 1.0))
    start, shift = np.zeros((1, 6, 3)), np.zeros((1, 3))
    solver = equations.solver(start, shift, Free(1e-9)).repeated()
    linear = equations.solve(start, shift, Free(1e-9))
    thorough = rectified.refine(solver, *linear)
    rectified.products = 1
    quick = rectified.refine(solver, *linear)
    assert rectified.error(*thorough) < rectified.error(*quick) < rectified.error(*linear)
