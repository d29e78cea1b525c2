"""Weights that share vectors, or values within runs of outputs: the steps of `codebook`, a vector at a time.

A vector w_R of d rows R of one column takes the best entry c of its codebook given all others: the one with the least
(c − a)ᵀ A_RR (c − a), where a = w_R + A_RR⁻¹ r_R and r are the entries of B − A W. For the start, vectors are rounded
one after another, and the following ones compensate; the metric of a vector is then the inverse of its block of the
inverse matrix: van Baalen et al., "GPTVQ", 2024 (arXiv:2402.15319).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.solve.quadratic import Quadratic
from onnx_compress.compiler.storage.cells import Cells


@dataclass(frozen=True, eq=False)
class VectorCut:
    """How a layer's weights [groups, K, M] are cut into vectors.

    `order` [K] gives the rows in the order of the file, in which vectors are contiguous. The runs of `cells` divide
    the outputs of all groups, one after another.
    """

    cells: Cells
    order: np.ndarray

    @classmethod
    def of(cls, layer: LinearLayer) -> VectorCut | None:
        """The cut of a layer; None where all its weights share single values."""
        known = layer.known
        if known is None or known.cells is None or layer.weight is None:
            return None
        shape = layer.weight.shape
        places = layer.matrices(np.arange(np.prod(shape, dtype=np.int64)).reshape(shape))
        return cls(known.cells, np.argsort(np.abs(places[0, :, 0]), kind="stable"))

    def vectors(self, matrices: np.ndarray) -> np.ndarray:
        """Values [groups, K, M] as vectors [books, n, dim], in the order of the file."""
        ordered = matrices[:, self.order].transpose(0, 2, 1)
        return ordered.reshape(self.cells.books, -1, self.cells.dim)

    def matrices(self, vectors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The inverse of `vectors`."""
        groups, rows, width = shape
        found = np.empty(shape)
        found[:, self.order] = vectors.reshape(groups, width, rows).transpose(0, 2, 1)
        return found

    def runs(self, groups: int, width: int) -> list[list[tuple[int, slice]]]:
        """For each group of a layer, the codebooks of its outputs and the columns that use each."""
        books = np.arange(groups * width).reshape(groups, width) // (groups * width // self.cells.books)
        found = []
        for row in books:
            starts = np.flatnonzero(np.diff(row, prepend=-1))
            found.append([(int(row[a]), slice(a, b)) for a, b in zip(starts, [*starts[1:], width])])
        return found


@dataclass(frozen=True, eq=False)
class Vectors:
    """Weights of `shape` [groups, K, M] as `places` [books, n] in `books` [books, k, dim], with zero as first entry."""

    books: np.ndarray
    places: np.ndarray
    cut: VectorCut
    shape: tuple[int, int, int]

    @property
    def weights(self) -> np.ndarray:
        """Their values."""
        return self._of(self.books)

    def _of(self, books: np.ndarray) -> np.ndarray:
        return self.cut.matrices(np.take_along_axis(books, self.places[..., None], axis=1), self.shape)

    @classmethod
    def compensated(cls, books: np.ndarray, cut: VectorCut, goal: Quadratic) -> Vectors:
        """Vectors rounded one after another, each compensating for those before it."""
        groups, rows, width = goal.right.shape
        chosen = np.empty((groups, rows // cut.cells.dim, width), np.int64)
        best = goal.best()
        for group, runs in enumerate(cut.runs(groups, width)):
            matrix = goal.matrix[group][np.ix_(cut.order, cut.order)]
            factor = np.linalg.cholesky(np.linalg.inv(matrix)).T
            rest, free = best[group][cut.order], goal.free[group][cut.order]
            for i, start in enumerate(range(0, rows, cut.cells.dim)):
                part = slice(start, start + cut.cells.dim)
                block = factor[part, part]
                entries, found = _nearest(rest[part], np.linalg.inv(block.T @ block), books, runs, free[part])
                chosen[group, i] = found
                missed = np.linalg.solve(block.T, rest[part] - entries)
                rest[start + cut.cells.dim :] -= factor[part, start + cut.cells.dim :].T @ missed
        return cls._placed(books, chosen, cut, goal.right.shape)

    def descended(self, goal: Quadratic) -> Vectors:
        """One sweep in which every vector takes the best entry given all others."""
        groups, rows, width = self.shape
        dim, order = self.cut.cells.dim, self.cut.order
        chosen = np.empty((groups, rows // dim, width), np.int64)
        weights = self.weights
        rest = goal.right - goal.matrix @ weights
        for group, runs in enumerate(self.cut.runs(groups, width)):
            for i, start in enumerate(range(0, rows, dim)):
                part = order[start : start + dim]
                near = goal.matrix[group][np.ix_(part, part)]
                aim = weights[group, part] + np.linalg.solve(near, rest[group, part])
                entries, chosen[group, i] = _nearest(aim, near, self.books, runs, goal.free[group, part])
                rest[group] -= goal.matrix[group][:, part] @ (entries - weights[group, part])
                weights[group, part] = entries
        return self._placed(self.books, chosen, self.cut, self.shape)

    def solved(self, goal: Quadratic) -> Vectors:
        """Better entries at the same places; zero and entries that no vector takes stay."""
        count = self.books.shape[1]
        flat = (self.places + count * np.arange(len(self.places))[:, None]).reshape(-1)

        def onto(values: np.ndarray) -> np.ndarray:
            vectors = self.cut.vectors(values).reshape(-1, self.cut.cells.dim)
            sums = np.stack([np.bincount(flat, each, count * len(self.books)) for each in vectors.T], axis=1)
            sums = sums.reshape(self.books.shape)
            sums[:, 0] = 0.0
            return sums

        return Vectors(goal.least(self.books, self._of, onto), self.places, self.cut, self.shape)

    @classmethod
    def _placed(cls, books: np.ndarray, chosen: np.ndarray, cut: VectorCut, shape: tuple[int, int, int]) -> Vectors:
        """Weights from the entry of each vector, `chosen` [groups, K / dim, M]."""
        return cls(books, chosen.transpose(0, 2, 1).reshape(len(books), -1), cut, shape)


def _nearest(
    aim: np.ndarray, metric: np.ndarray, books: np.ndarray, runs: list[tuple[int, slice]], free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The entries [dim, M] nearest to the columns of `aim`, and their places [M]; zero where nothing is free.

    The distance is (c − a)ᵀ · metric · (c − a).
    """
    root = np.linalg.cholesky(metric)
    entries, places = np.empty(aim.shape), np.empty(aim.shape[1], np.int64)
    for book, columns in runs:
        turned = books[book] @ root
        costs = np.square(turned).sum(axis=1)[:, None] - 2 * turned @ (root.T @ aim[:, columns])
        places[columns] = np.where(free[:, columns].any(axis=0), costs.argmin(axis=0), 0)
        entries[:, columns] = books[book][places[columns]].T
    return entries, places
