"""Small systems of equations."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.repair.solve.equations import Equations, Free


def rng():
    return np.random.default_rng(7)


def equations(unknowns=5, outputs=3, rows=400):
    """Correlated inputs, and their outputs for some weights."""
    mixed = rng().standard_normal((rows, unknowns)) @ rng().standard_normal((unknowns, unknowns))
    weights = np.random.default_rng(8).standard_normal((1, unknowns, outputs))
    found = Equations.zeros(1, unknowns, outputs)
    found.add(mixed[None], mixed[None] @ weights)
    return found, weights, np.zeros((1, outputs))


def best_error(found, weights, shift, support):
    """The least error with the other weights zero and b free."""
    solved = found.solve(weights * support, shift, Free(1e-12, True, support))
    return found.error(*solved)
