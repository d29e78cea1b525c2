"""Least squares in which every column of the result has a support of its own: the entries that may be non-zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.repair.solve.conjugate_gradients import Limit, conjugate_gradients
from onnx_compress.compiler.repair.solve.threads import each

ITERATIONS = 64
"""Most steps of conjugate gradients."""
TOLERANCE = 1e-6
"""Share of the initial residual's norm at which they end."""
QUICK = 1 << 32
"""Multiplications up to which elimination is used anyway, unless fewer iterations suffice."""
INVERSE_BYTES = 1 << 28
"""Most bytes of inverses to keep for further right-hand sides."""
PART = 1 << 28
"""Multiplications per thread and product when conjugate gradients split the columns."""
COPIED_BYTES, SMALL_BYTES = 1 << 29, 1 << 20
"""Most bytes of the matrix's parts that threads copy at once; if all parts are below the second, one thread is used."""


@dataclass(frozen=True, eq=False)
class Support:
    """The `columns` whose support is `rows`."""

    rows: np.ndarray
    columns: np.ndarray

    @property
    def block(self) -> tuple[np.ndarray, ...]:
        """The index of this part in a right-hand side or result."""
        return np.ix_(self.rows, self.columns)


def patterns(support: np.ndarray) -> Iterator[Support]:
    """The distinct columns of `support` [K, M], without empty ones."""
    found, owners = np.unique(np.packbits(support, axis=0).T, axis=0, return_inverse=True)
    order = np.argsort(owners.reshape(-1), kind="stable")
    for columns in np.split(order, np.cumsum(np.bincount(owners.reshape(-1), minlength=len(found)))[:-1]):
        rows = np.flatnonzero(support[:, columns[0]])
        if len(rows):
            yield Support(rows, columns)


@dataclass(frozen=True, eq=False)
class OnSupport:
    """The equations matrix · D = right with D zero outside `support` [K, M], column by column.

    Columns with the same support are solved together by elimination, unless the supports are so many and so large
    that `iterations` of conjugate gradients for all columns are cheaper. `inverses` holds the inverse for each
    support, if they are kept.
    """

    matrix: np.ndarray
    support: np.ndarray
    parts: tuple[Support, ...]
    iterations: int = ITERATIONS
    inverses: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, matrix: np.ndarray, support: np.ndarray, iterations: int = ITERATIONS) -> OnSupport:
        """The equations with a symmetric, positive definite `matrix` [K, K]."""
        return cls(matrix, support, tuple(patterns(support)), iterations)

    @property
    def is_direct(self) -> bool:
        """Whether elimination is used."""
        direct = sum(len(part.rows) ** 3 // 3 + len(part.rows) ** 2 * len(part.columns) for part in self.parts)
        gradients = ITERATIONS * len(self.matrix) ** 2 * int(self.support.shape[1])
        return direct * ITERATIONS <= max(QUICK, gradients) * self.iterations

    def repeated(self) -> OnSupport:
        """The same equations, prepared for many right-hand sides if memory allows."""
        size = sum(8 * len(part.rows) ** 2 for part in self.parts)
        if size > INVERSE_BYTES or not self.is_direct:
            return self
        return replace(self, inverses=tuple(self._each(lambda part: np.linalg.inv(self._within(part)))))

    def solve(self, right: np.ndarray) -> np.ndarray:
        """D [K, M]. Raises np.linalg.LinAlgError where the matrix is singular on a support."""
        if not self.inverses and not self.is_direct:
            return by_gradients(self.matrix, right, self.support, self.iterations)
        if self.inverses:
            solved = [inverse @ right[part.block] for part, inverse in zip(self.parts, self.inverses)]
        else:
            solved = self._each(lambda part: np.linalg.solve(self._within(part), right[part.block]))
        found = np.zeros_like(right)
        for part, values in zip(self.parts, solved):
            found[part.block] = values
        return found

    def inverse_diagonal(self) -> np.ndarray:
        """For each column the diagonal of the inverse of the matrix on its support: [K, M], 1 outside.

        Where elimination is too expensive, the diagonal of the whole matrix's inverse, which is never smaller.
        """
        found = np.ones(self.support.shape)
        if not self.is_direct:
            return np.where(self.support, np.diagonal(np.linalg.inv(self.matrix))[:, None], found)

        def diagonal(part: Support) -> np.ndarray:
            return np.diagonal(np.linalg.inv(self._within(part))).copy()  # a view would keep the inverse

        diagonals = map(np.diagonal, self.inverses) if self.inverses else self._each(diagonal)
        for part, values in zip(self.parts, diagonals):
            found[part.block] = values[:, None]
        return found

    def _within(self, part: Support) -> np.ndarray:
        """The matrix restricted to a support."""
        return np.asarray(self.matrix[np.ix_(part.rows, part.rows)])

    def _each(self, work: Callable[[Support], np.ndarray]) -> list[np.ndarray]:
        """The results of `work` for each support, by as many threads as their matrices fit into memory."""
        largest = max((8 * len(part.rows) ** 2 for part in self.parts), default=0)
        return each(work, self.parts, most=max(1, COPIED_BYTES // max(1, largest)) if largest > SMALL_BYTES else 1)


def by_gradients(
    matrix: np.ndarray, right: np.ndarray, support: np.ndarray, iterations: int = ITERATIONS
) -> np.ndarray:
    """An approximate solution of matrix · D = right [K, M] with D zero outside `support`, all columns at once."""
    inverse = 1 / np.maximum(np.diagonal(matrix), np.finfo(np.float64).tiny)[:, None]
    width = max(1, PART // len(matrix) ** 2)

    def solved(start: int) -> np.ndarray:
        some = slice(start, start + width)
        free, limit = support[:, some].astype(np.float64), Limit(iterations, TOLERANCE)
        scale, rest = inverse * free, right[:, some] * free
        return conjugate_gradients(lambda move: (matrix @ move) * free, rest, scale, limit, is_each_column=True)

    return np.concatenate(each(solved, range(0, right.shape[1], width)), axis=1)
