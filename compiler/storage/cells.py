"""Codebooks of parts of a weight: of runs of its outputs, and of vectors in place of single values.

The outputs of a weight, one after another, are cut into `books` runs of equal length, each with a codebook of its own;
what an output reads is cut into vectors of `dim` numbers, each of which is one entry of the codebook of its run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_ENTRIES = 256
"""Entries that one codebook has at most."""


@dataclass(frozen=True)
class Cells:
    """A number of codebooks, the length of their entries, and the axis of the outputs: 0, or 1 of a matrix."""

    books: int = 1
    dim: int = 1
    axis: int = 0

    def fit(self, shape: tuple[int, ...]) -> bool:
        """Whether a weight of this shape can be cut so."""
        size = int(np.prod(shape, dtype=np.int64))
        is_cut = size > 0 and self.books > 0 and self.dim > 0 and size % (self.books * self.dim) == 0
        return is_cut and (self.axis == 0 or (self.axis == 1 and len(shape) == 2))

    def split(self, values: np.ndarray) -> np.ndarray:
        """The vectors [books, n, dim] of a weight that fits."""
        turned = values.T if self.axis else values
        return np.ascontiguousarray(turned).reshape(self.books, -1, self.dim)

    def join(self, vectors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The weight of this shape that has such vectors [books, n, dim]."""
        return vectors.reshape(shape[::-1]).T if self.axis else vectors.reshape(shape)


def coded(values: np.ndarray, cells: Cells) -> tuple[np.ndarray, np.ndarray] | None:
    """Codebooks [books, k, dim], filled up with zeros, and the entry of each vector, uint8 [books, n].

    Entries are told apart by their bits. None where the weight does not fit, or a codebook would have more than 256.
    """
    if not cells.fit(values.shape) or values.dtype.kind != "f":
        return None
    vectors = cells.split(values + values.dtype.type(0))  # -0.0 as +0.0
    words = vectors.view(np.dtype((np.void, cells.dim * values.dtype.itemsize)))[..., 0]
    found = [np.unique(one, return_inverse=True) for one in words]
    most = max(len(entries) for entries, _ in found)
    if most > MOST_ENTRIES:
        return None
    books = np.zeros((cells.books, most, cells.dim), values.dtype)
    for book, (entries, _) in zip(books, found):
        book[: len(entries)] = entries.view(values.dtype).reshape(-1, cells.dim)
    return books, np.stack([places.reshape(-1) for _, places in found]).astype(np.uint8)
