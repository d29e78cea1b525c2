"""A small layer as a quadratic function of its weights."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.repair.solve.equations import Equations, Free
from onnx_compress.compiler.repair.solve.quadratic import Quadratic

BOOK = np.array([-1.0, 0.0, 0.8])


def problem(seed=0, groups=2, inputs=6, outputs=3, rows=400, ridge=1e-6, importance=None):
    """Rows, targets, the quadratic form of both, and its constant term."""
    rng = np.random.default_rng(seed)
    importance = np.ones((groups, outputs)) if importance is None else importance
    mix = rng.standard_normal((groups, inputs, inputs))
    x = rng.standard_normal((groups, rows, inputs)) @ mix
    dense = rng.standard_normal((groups, inputs, outputs))
    y = x @ dense + 0.3 + 0.1 * rng.standard_normal((groups, rows, outputs))
    sums = Equations.zeros(groups, inputs, outputs)
    sums.add(x, y)
    solver = sums.solver(dense, np.zeros((groups, outputs)), Free(ridge))
    goal = Quadratic.of(solver, sums.cross[:, :-1], sums.cross[:, -1], np.ones(dense.shape, bool), importance)
    return x, y, dense, goal


def centred(values):
    return values - values.mean(axis=1, keepdims=True)
