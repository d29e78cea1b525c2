"""Equations whose matrix is a Kronecker product over inputs and outputs, with entries of the result fixed at zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnx_compress.compiler.repair.solve.conjugate_gradients import Limit, conjugate_gradients

ITERATIONS = 32
"""Most steps of conjugate gradients."""
TOLERANCE = 1e-2
"""Share of the initial residual's norm at which they end."""


@dataclass(frozen=True, eq=False)
class Kronecker:
    """inputs · D · outputs = right, with D zero outside `support` [K, M]; `inputs` [K, K] is positive definite.

    Unless the support is full, conjugate gradients take at most `iterations` steps.
    """

    inputs: np.ndarray
    support: np.ndarray
    iterations: int = ITERATIONS

    def solve(self, right: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """D [K, M] for a positive definite `outputs` [M, M], in float32."""
        if self.support.all():
            return np.asarray(self._inverse @ right @ np.linalg.inv(outputs)).astype(np.float32)
        return self._on_support(right, outputs)

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(self.inputs)

    def _on_support(self, right: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        left, behind = self.inputs.astype(np.float32), outputs.astype(np.float32)
        diagonal = np.outer(np.diagonal(left), np.diagonal(behind))
        scale = np.divide(1, diagonal, out=np.zeros_like(diagonal), where=self.support & (diagonal > 0))
        return conjugate_gradients(
            lambda move: (left @ move @ behind) * self.support,
            right.astype(np.float32) * self.support,
            scale,
            Limit(self.iterations, TOLERANCE),
        )
