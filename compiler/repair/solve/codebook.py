"""Weights that share few values: least squares over the values, and over which weight takes which.

The error is that of `quadratic`, with W_km = c[p_km] one of the values c, one of which is zero. Three steps lower it
without reading the rows again:

    compensate   each row of W is rounded to the nearest values, and the following rows compensate for its error:
                 Frantar et al., "GPTQ", ICLR 2023 (arXiv:2210.17323); this is the start
    descend      each weight in turn takes the best value given all others, the one nearest to
                 w + r / A_kk with r its entry of B − A W; Behdin et al., "QuantEase", 2023 (arXiv:2309.01885)
    solve        for fixed places the error is quadratic in c: N c = b, where N_ij sums A's entries between weights of
                 one column that take c_i and c_j, and b_i sums B's entries of the weights that take c_i; zero stays 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from onnx_compress.compiler.repair.solve.quadratic import Quadratic

BLOCK = 64
"""Rows of weights whose changes are applied to the other rows at once."""


@dataclass(frozen=True, eq=False)
class Shared:
    """Weights [groups, K, M] as `places` in a `codebook` [k], which is ascending and contains zero."""

    codebook: np.ndarray
    places: np.ndarray

    @classmethod
    def nearest(cls, weights: np.ndarray, codebook: np.ndarray, free: np.ndarray) -> Shared:
        """Each weight that is `free` rounded to the nearest value, the others zero."""
        zero = int(np.searchsorted(codebook, 0.0))
        return cls(codebook, np.where(free, np.searchsorted(_middles(codebook), weights), zero))

    @property
    def weights(self) -> np.ndarray:
        """Their values."""
        return np.asarray(self.codebook[self.places])

    @property
    def zero(self) -> int:
        """The place of zero."""
        return int(np.searchsorted(self.codebook, 0.0))

    @classmethod
    def compensated(cls, codebook: np.ndarray, goal: Quadratic) -> Self:
        """Rows rounded to the codebook in the order of their importance, each compensating for those before it."""
        places = np.empty(goal.right.shape, np.int64)
        middles, zero = _middles(codebook), int(np.searchsorted(codebook, 0.0))
        for group, (matrix, weights) in enumerate(zip(goal.matrix, goal.best())):
            order = np.argsort(-np.diagonal(matrix), kind="stable")
            factor = np.linalg.cholesky(np.linalg.inv(matrix[np.ix_(order, order)])).T
            rest, free = weights[order], goal.free[group][order]
            for start in range(0, len(order), BLOCK):
                stop = min(start + BLOCK, len(order))
                missed = np.empty((stop - start, rest.shape[1]))
                for row in range(start, stop):
                    chosen = np.where(free[row], np.searchsorted(middles, rest[row]), zero)
                    places[group, order[row]] = chosen
                    missed[row - start] = (rest[row] - codebook[chosen]) / factor[row, row]
                    rest[row + 1 : stop] -= factor[row, row + 1 : stop, None] * missed[row - start]
                rest[stop:] -= factor[start:stop, stop:].T @ missed
        return cls(codebook, places)

    def descended(self, goal: Quadratic) -> Shared:
        """One sweep in which every weight takes the best value given all others."""
        places, weights = self.places.copy(), self.weights
        middles = _middles(self.codebook)
        rest = goal.right - goal.matrix @ weights
        for group, matrix in enumerate(goal.matrix):
            for start in range(0, len(matrix), BLOCK):
                part = slice(start, start + BLOCK)
                near, local = matrix[part, part], rest[group, part].copy()
                before = weights[group, part].copy()
                for row, scale in enumerate(np.diagonal(near)):
                    aim = before[row] + local[row] / scale
                    chosen = np.where(goal.free[group, start + row], np.searchsorted(middles, aim), self.zero)
                    step = self.codebook[chosen] - before[row]
                    local -= near[:, row, None] * step
                    places[group, start + row], weights[group, start + row] = chosen, before[row] + step
                rest[group] -= matrix[:, part] @ (weights[group, part] - before)
        return Shared(self.codebook, places)

    def solved(self, goal: Quadratic) -> Shared:
        """Better values at the same places; zero and values that no weight takes stay."""
        places = self.places.reshape(-1)

        def onto(values: np.ndarray) -> np.ndarray:
            sums = np.bincount(places, values.reshape(-1), len(self.codebook))
            sums[self.zero] = 0.0
            return sums

        codebook = goal.least(self.codebook, lambda entries: entries[self.places], onto)
        order = np.argsort(codebook, kind="stable")
        return Shared(codebook[order], np.argsort(order, kind="stable")[self.places])


def _middles(codebook: np.ndarray) -> np.ndarray:
    return np.asarray((codebook[1:] + codebook[:-1]) / 2)
