"""Weights that share few values: least squares over the values, and over which weight takes which.

Let A = XᵀX + λ and B = XᵀY + λ W₀ be the normal equations of a layer (columns centred where the bias is free), W₀ its
weights before they shared values. Its error is tr WᵀAW − 2 tr WᵀB but for a constant, and W_km = c[p_km] takes one
of the values c, of which one is zero. Three steps lower it, none of which looks at rows again:

    compensate   row after row of W is rounded to its nearest values, the rows that follow make up for it:
                 Frantar et al., "GPTQ", ICLR 2023 (arXiv:2210.17323); this gives the start
    descend      each weight in turn takes the value that is best given all others, the one nearest to
                 w + r / A_kk with r its entry of B − A W; Behdin et al., "QuantEase", 2023 (arXiv:2309.01885)
    solve        places fixed, the error is quadratic in c: N c = b with N_ij = Σ over A's entries between weights that
                 take c_i and c_j of one column, b_i = Σ over B's entries of those that take c_i; c of zero stays 0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.repair.equations import Solver

ROUNDS = 12
"""Rounds of descending and solving at most."""
ENOUGH = 1e-3
"""Share of the error that a round must take away for another one to follow."""
STEPS, EXACT = 24, 1e-20
"""Conjugate gradients for the values end after so many steps, or when the square of their residual is that small."""
DEAD = 1e-6
"""Share of the largest group's mean diagonal below which the one of a group is not taken for its level."""
BLOCK = 64
"""Rows of weights whose changes are applied to all other rows together."""


@dataclass(frozen=True, eq=False)
class Shared:
    """Weights [groups, K, M] as `places` in a `codebook` [k], which ascends and has zero in it."""

    codebook: np.ndarray
    places: np.ndarray

    @classmethod
    def nearest(cls, weights: np.ndarray, codebook: np.ndarray, free: np.ndarray) -> Shared:
        """Each of the weights that are `free` at the value next to it, the others zero."""
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


@dataclass(frozen=True, eq=False)
class Quadratic:
    """`matrix` A [groups, K, K] and `right` B [groups, K, M]; `free` [groups, K, M] are those that may be non-zero.

    `worth` [groups, 1, M] is what an error of each output counts: all share the values.
    """

    matrix: np.ndarray
    right: np.ndarray
    free: np.ndarray
    worth: np.ndarray

    @classmethod
    def of(
        cls, solver: Solver, cross: np.ndarray, totals: np.ndarray, free: np.ndarray, worth: np.ndarray
    ) -> Quadratic:
        """The equations of `solver` for targets with Σ xᵀy = `cross` and Σ y = `totals`; `worth` is [groups, M]."""
        base, ridges = _ridges(solver)
        shift = totals / solver.count if solver.free.shift else solver.shift
        right = cross - solver.sums[:, :, None] * shift[:, None] + ridges * solver.present
        return cls(base, right, free, worth[:, None])

    def best(self) -> np.ndarray:
        """The weights without a codebook and without the zeros that have to stay."""
        return np.linalg.solve(self.matrix, self.right)

    def gain(self, weights: np.ndarray) -> float:
        """By how much the error is lower than that of weights that are all zero."""
        return float(np.sum(self.worth * weights * (2 * self.right - self.matrix @ weights)))

    @property
    def importance(self) -> np.ndarray:
        """What an error of a weight costs [groups, K, M]: the diagonal of A times the output's worth."""
        return np.asarray(self.diagonal * self.worth)

    @property
    def diagonal(self) -> np.ndarray:
        """That of A [groups, K, 1]."""
        return np.diagonal(self.matrix, axis1=1, axis2=2)[:, :, None]

    def compensated(self, codebook: np.ndarray) -> Shared:
        """Rows in the order of their importance rounded to the codebook, each making up for those before it."""
        places = np.empty(self.right.shape, np.int64)
        middles, zero = _middles(codebook), int(np.searchsorted(codebook, 0.0))
        for group, (matrix, weights) in enumerate(zip(self.matrix, self.best())):
            order = np.argsort(-np.diagonal(matrix), kind="stable")
            factor = np.linalg.cholesky(np.linalg.inv(matrix[np.ix_(order, order)])).T
            rest, free = weights[order], self.free[group][order]
            for start in range(0, len(order), BLOCK):
                stop = min(start + BLOCK, len(order))
                missed = np.empty((stop - start, rest.shape[1]))
                for row in range(start, stop):
                    chosen = np.where(free[row], np.searchsorted(middles, rest[row]), zero)
                    places[group, order[row]] = chosen
                    missed[row - start] = (rest[row] - codebook[chosen]) / factor[row, row]
                    rest[row + 1 : stop] -= factor[row, row + 1 : stop, None] * missed[row - start]
                rest[stop:] -= factor[start:stop, stop:].T @ missed
        return Shared(codebook, places)

    def descended(self, shared: Shared) -> Shared:
        """One sweep in which every weight takes the value that is best given all others."""
        places, weights = shared.places.copy(), shared.weights
        middles = _middles(shared.codebook)
        rest = self.right - self.matrix @ weights
        for group, matrix in enumerate(self.matrix):
            for start in range(0, len(matrix), BLOCK):
                part = slice(start, start + BLOCK)
                near, local = matrix[part, part], rest[group, part].copy()
                before = weights[group, part].copy()
                for row, scale in enumerate(np.diagonal(near)):
                    aim = before[row] + local[row] / scale
                    chosen = np.where(self.free[group, start + row], np.searchsorted(middles, aim), shared.zero)
                    step = shared.codebook[chosen] - before[row]
                    local -= near[:, row, None] * step
                    places[group, start + row], weights[group, start + row] = chosen, before[row] + step
                rest[group] -= matrix[:, part] @ (weights[group, part] - before)
        return Shared(shared.codebook, places)

    def solved(self, shared: Shared) -> Shared:
        """Better values at the same places, all but zero, which stays; those that no weight takes stay too.

        Conjugate gradients from the present values, preconditioned by the importance of the weights at each: every
        step lowers the error, and after as many as there are values it would be the least.
        """
        codebook, places = shared.codebook.copy(), shared.places.reshape(-1)

        def onto(values: np.ndarray) -> np.ndarray:
            """The sum of what belongs to the weights at each value."""
            sums = np.bincount(places, (self.worth * values).reshape(-1), len(codebook))
            sums[shared.zero] = 0.0
            return sums

        masses = onto(np.broadcast_to(self.diagonal, self.right.shape))
        scale = np.divide(1.0, masses, out=np.zeros_like(masses), where=masses > 0)
        rest = onto(self.right - self.matrix @ shared.weights)
        direction = scale * rest
        size = first = float(rest @ direction)
        for _ in range(min(STEPS, len(codebook))):
            if size <= EXACT * first:
                break
            image = onto(self.matrix @ direction[shared.places])
            step = size / float(direction @ image)
            codebook += step * direction
            rest -= step * image
            before, size = size, float(rest @ (scale * rest))
            direction = scale * rest + size / before * direction
        order = np.argsort(codebook, kind="stable")
        return Shared(codebook[order], np.argsort(order, kind="stable")[shared.places])

    def improved(self, shared: Shared) -> Shared:
        """Descended and solved in turns while that helps."""
        gain, limit = self.gain(shared.weights), self.gain(self.best())
        for _ in range(ROUNDS):
            better = self.solved(self.descended(shared))
            reached = self.gain(better.weights)
            if not reached > gain:
                break
            shared, step, gain = better, reached - gain, reached
            if step < ENOUGH * (limit - gain):
                break
        return shared


def _ridges(solver: Solver) -> tuple[np.ndarray, np.ndarray]:
    """The matrices with their ridge, and the ridges [groups, 1, 1]; a group without any input gets one too."""
    size = solver.gram.shape[1]
    levels = np.trace(solver.gram, axis1=1, axis2=2) / max(1, size)
    top = levels.max()
    ridges = (solver.free.ridge * np.maximum(levels, DEAD * top if top > 0 else 1.0))[:, None, None]
    return solver.gram + ridges * np.eye(size), ridges


def _middles(codebook: np.ndarray) -> np.ndarray:
    return np.asarray((codebook[1:] + codebook[:-1]) / 2)
