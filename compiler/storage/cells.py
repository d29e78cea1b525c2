"""Codebooks of parts of a weight: one per run of outputs, with vectors instead of single values as entries.

The outputs of a weight are cut, in order, into `books` runs of equal length, each with its own codebook. The weights
of an output are cut into vectors of `dim` numbers; each vector is one entry of the codebook of its run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_ENTRIES = 256
"""Maximum number of entries in one codebook."""


@dataclass(frozen=True)
class Cells:
    """The number of codebooks, the length of their entries, and the axis of the outputs: 0, or 1 for a matrix."""

    books: int = 1
    dim: int = 1
    axis: int = 0

    def fit(self, shape: tuple[int, ...]) -> bool:
        """Whether a weight of this shape can be cut this way."""
        size = int(np.prod(shape, dtype=np.int64))
        is_cut = size > 0 and self.books > 0 and self.dim > 0 and size % (self.books * self.dim) == 0
        return is_cut and (self.axis == 0 or (self.axis == 1 and len(shape) == 2))

    def split(self, values: np.ndarray) -> np.ndarray:
        """The vectors [books, n, dim] of a weight that fits."""
        turned = values.T if self.axis else values
        return np.ascontiguousarray(turned).reshape(self.books, -1, self.dim)

    def join(self, vectors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The weight of this shape made of the vectors [books, n, dim]; the inverse of `split`."""
        return vectors.reshape(shape[::-1]).T if self.axis else vectors.reshape(shape)


def coded(values: np.ndarray, cells: Cells) -> tuple[np.ndarray, np.ndarray] | None:
    """Codebooks [books, k, dim], padded with zeros, and the index of each vector's entry, uint8 [books, n].

    Entries are compared by their bits. None if the weight does not fit, or a codebook would need more than 256 entries.
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
