"""Equations whose matrix is a product over inputs and outputs, in which some entries of the result have to be zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

ITERATIONS = 32
"""Steps of conjugate gradients at most; each lowers the error, so that fewer than would be exact do no harm."""
TOLERANCE = 1e-2
"""Share of the residual's norm at which they end."""


@dataclass(frozen=True, eq=False)
class Kronecker:
    """inputs · D · outputs = right, with D zero outside `support` [K, M]; `inputs` [K, K] is positive definite.

    Where the support is not everything, conjugate gradients take so many `iterations` at most.
    """

    inputs: np.ndarray
    support: np.ndarray
    iterations: int = ITERATIONS

    def solve(self, right: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """D [K, M] for a positive definite `outputs` [M, M], in float32."""
        if self.support.all():
            return np.asarray(self._inverse @ right @ np.linalg.inv(outputs)).astype(np.float32)
        return self._conjugate_gradients(right, outputs)

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(self.inputs)

    def _conjugate_gradients(self, right: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Preconditioned by the diagonal: Hestenes and Stiefel, 1952."""
        left, behind = self.inputs.astype(np.float32), outputs.astype(np.float32)
        scale = self.support / np.outer(np.diagonal(left), np.diagonal(behind))
        found, rest = np.zeros_like(scale), right.astype(np.float32) * self.support
        direction = scale * rest
        size = enough = float(np.vdot(rest, direction))
        for _ in range(self.iterations):
            if size <= TOLERANCE**2 * enough:
                break
            image = left @ direction @ behind
            length = np.float32(size / float(np.vdot(direction, image)))
            found += length * direction
            rest -= length * (image * self.support)
            steeper = scale * rest
            before, size = size, float(np.vdot(rest, steeper))
            direction = steeper + np.float32(size / before) * direction
        return np.asarray(found)
