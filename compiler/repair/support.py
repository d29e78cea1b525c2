"""Least squares in which every column of the result has entries of its own that may not be zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.repair.gradients import Limit, conjugate_gradients

ITERATIONS = 64
"""Steps of conjugate gradients at most."""
TOLERANCE = 1e-6
"""Share of the residual's norm at which they end."""
QUICK = 1 << 32
"""Multiplications that are never too many for a direct solution."""
INVERSE_BYTES = 1 << 28
"""Inverses that are kept for further right-hand sides take at most so many bytes."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """The `columns` that share a support, which is `rows`."""

    rows: np.ndarray
    columns: np.ndarray

    @property
    def block(self) -> tuple[np.ndarray, ...]:
        """Index of this part of a right-hand side or result."""
        return np.ix_(self.rows, self.columns)


def patterns(support: np.ndarray) -> Iterator[Pattern]:
    """The different columns of `support` [K, M], those without any entry left out."""
    found, owners = np.unique(np.packbits(support, axis=0).T, axis=0, return_inverse=True)
    order = np.argsort(owners.reshape(-1), kind="stable")
    for columns in np.split(order, np.cumsum(np.bincount(owners.reshape(-1), minlength=len(found)))[:-1]):
        rows = np.flatnonzero(support[:, columns[0]])
        if len(rows):
            yield Pattern(rows, columns)


@dataclass(frozen=True, eq=False)
class OnSupport:
    """The equations matrix · D = right with D zero outside `support` [K, M], column by column.

    They are solved directly, columns with the same support together, unless the matrices that this takes are so many
    and so large that conjugate gradients for all columns at once are cheaper. `inverses` are those of the patterns'
    matrices, where they are kept.
    """

    matrix: np.ndarray
    support: np.ndarray
    parts: tuple[Pattern, ...]
    inverses: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, matrix: np.ndarray, support: np.ndarray) -> OnSupport:
        """With a symmetric, positive definite `matrix` [K, K]."""
        return cls(matrix, support, tuple(patterns(support)))

    @property
    def is_direct(self) -> bool:
        """Whether it is solved by elimination."""
        direct = sum(len(part.rows) ** 3 // 3 + len(part.rows) ** 2 * len(part.columns) for part in self.parts)
        return direct <= max(QUICK, ITERATIONS * len(self.matrix) ** 2 * int(self.support.shape[1]))

    def repeated(self) -> OnSupport:
        """The same, prepared for many right-hand sides as far as memory allows."""
        size = sum(8 * len(part.rows) ** 2 for part in self.parts)
        if size > INVERSE_BYTES or not self.is_direct:
            return self
        inverses = tuple(np.linalg.inv(self.matrix[np.ix_(part.rows, part.rows)]) for part in self.parts)
        return OnSupport(self.matrix, self.support, self.parts, inverses)

    def solve(self, right: np.ndarray) -> np.ndarray:
        """D [K, M]. Raises np.linalg.LinAlgError where the matrix is singular on a support."""
        if not self.inverses and not self.is_direct:
            return by_gradients(self.matrix, right, self.support)
        found = np.zeros_like(right)
        for i, part in enumerate(self.parts):
            if self.inverses:
                found[part.block] = self.inverses[i] @ right[part.block]
            else:
                found[part.block] = np.linalg.solve(self.matrix[np.ix_(part.rows, part.rows)], right[part.block])
        return found

    def inverse_diagonal(self) -> np.ndarray:
        """For each column the diagonal of the inverse of the matrix on its support: [K, M], 1 outside.

        Where elimination is too much, that of the inverse of the whole matrix, which is never smaller.
        """
        found = np.ones(self.support.shape)
        if not self.is_direct:
            return np.where(self.support, np.diagonal(np.linalg.inv(self.matrix))[:, None], found)
        for i, part in enumerate(self.parts):
            kept = self.inverses[i] if self.inverses else np.linalg.inv(self.matrix[np.ix_(part.rows, part.rows)])
            found[part.block] = np.diagonal(kept)[:, None]
        return found


def by_gradients(matrix: np.ndarray, right: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Approximate solution of matrix · D = right [K, M] with D zero outside `support`, all columns at once."""
    scale = support / np.maximum(np.diagonal(matrix), np.finfo(np.float64).tiny)[:, None]
    return conjugate_gradients(
        lambda move: (matrix @ move) * support,
        right * support,
        scale,
        Limit(ITERATIONS, TOLERANCE),
        is_each_column=True,
    )
