"""The codebooks of one weight: their initial values or vectors, and the weight rounded to the nearest of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import ModelWeight
from onnx_compress.compiler.storage.cells import Cells
from onnx_compress.compiler.storage.structure import Structure
from onnx_compress.passes.cluster import _kmeans, _vectors

INDEX_BYTES = 8


@dataclass(frozen=True)
class Books:
    """How a weight is clustered: cut into cells, or None if all of it shares single values."""

    cells: Cells | None
    init: str

    @classmethod
    def of(cls, weight: ModelWeight, dim: int, per: int, init: str) -> Books | str:
        """For vectors of `dim` numbers and a codebook for each `per` outputs (0: one for all); or why not."""
        if dim == 1 and per == 0:
            return cls(None, init)
        shape = weight.constant.shape
        is_leading = weight.kept == tuple(range(len(weight.kept)))
        if not is_leading and (weight.kept, len(shape)) != ((1,), 2):
            return "its outputs are not contiguous, so it gets one codebook of single values"
        known = weight.constant.structure
        if dim > 1 and known is not None and known.support is not None:
            return "its zeros must stay, and vectors would not keep them: it gets single values"
        outputs = int(np.prod([shape[each] for each in weight.kept]))
        if (weight.constant.nbytes // weight.constant.dtype.itemsize // outputs) % dim:
            return f"the inputs of one output can't be cut into vectors of {dim}: it gets single values"
        return cls(Cells(_runs(outputs, per), dim, int(not is_leading)), init)

    def nbytes(self, count: int, itemsize: int, bits: int) -> int:
        """Bytes of the indices and codebooks of `count` weights."""
        cells = self.cells or Cells()
        return count // cells.dim * bits // INDEX_BYTES + (cells.books * cells.dim * itemsize << bits)

    def centroids(
        self, weights: np.ndarray, importance: np.ndarray, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """At most `count` values; for vectors [books, n, dim] the entries [books, count, dim], zero first."""
        if self.cells is None:
            return _kmeans.centroids(weights, importance, count, self.init, rng)
        found = np.zeros((self.cells.books, count, self.cells.dim))
        for book, mine, u in zip(found, weights, importance):
            entries = self._entries(mine, u, count, rng)
            book[: len(entries)] = entries
        return found

    def _entries(self, vectors: np.ndarray, importance: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        if vectors.shape[1] > 1:
            return _vectors.centroids(vectors, importance, count, rng)
        values = _kmeans.centroids(vectors[:, 0], importance[:, 0], count, self.init, rng)
        return np.concatenate([[0.0], values[values != 0]])[:, None]

    def clustered(self, values: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
        """The weight with 2^bits shared values, by k-means of the weights alone."""
        if self.cells is None:
            flat = values.reshape(-1).astype(np.float64)
            book = self.centroids(flat, np.ones(flat.size), 1 << bits, rng)
            nearest = book[np.searchsorted((book[1:] + book[:-1]) / 2, flat)] * (flat != 0)
            return np.asarray(nearest.astype(values.dtype).reshape(values.shape))
        vectors = self.cells.split(values).astype(np.float64)
        books = self.centroids(vectors, np.ones(vectors.shape), 1 << bits, rng)
        places = [_vectors.nearest(v, np.ones(v.shape), b) * v.any(axis=1) for v, b in zip(vectors, books)]
        found = np.stack([book[at] for book, at in zip(books, places)])
        return self.cells.join(found, values.shape).astype(values.dtype)

    def structure(self, values: np.ndarray) -> Structure:
        """The structure that later passes must keep."""
        return Structure.tied(values) if self.cells is None else Structure(cells=self.cells)


def _runs(outputs: int, per: int) -> int:
    """The number of equal runs of at most `per` outputs."""
    if per == 0 or per >= outputs:
        return 1
    return next(outputs // length for length in range(per, 0, -1) if outputs % length == 0)
