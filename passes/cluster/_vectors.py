"""k-means of vectors with one centroid fixed at zero, each number of each vector weighted.

    min over c of Σ_i Σ_j u_ij · (v_ij − c[p_i]_j)²,   zero one of the c

Zero vectors stay zero. Lloyd's iterations start from k-means++: Arthur and Vassilvitskii, "k-means++: The Advantages of
Careful Seeding", SODA 2007.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.repair.solve.threads import unshared_sums

ITERATIONS = 25
SEEDED = 1 << 13
"""Maximum number of vectors among which k-means++ chooses."""
CHUNK = 1 << 14


def centroids(vectors: np.ndarray, importance: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` vectors [k, dim], zero first, for vectors [n, dim] of positive importance [n, dim]."""
    is_some = vectors.any(axis=1)
    vectors, importance = vectors[is_some], importance[is_some]
    distinct = np.unique(vectors, axis=0)
    if len(distinct) < count:
        return np.concatenate([np.zeros((1, vectors.shape[1])), distinct])
    with unshared_sums():
        book = np.concatenate([np.zeros((1, vectors.shape[1])), _seeds(vectors, importance, count - 1, rng)])
        before = None
        for _ in range(ITERATIONS):
            places = nearest(vectors, importance, book)
            if before is not None and np.array_equal(places, before):
                break
            book, before = _means(vectors, importance, places, book), places
    return book


def nearest(vectors: np.ndarray, importance: np.ndarray, book: np.ndarray) -> np.ndarray:
    """For each vector [n, dim] the index in `book` [k, dim] of least Σ_j u_j · (v_j − c_j)²."""
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        costs = importance[part] @ np.square(book).T - 2 * (importance[part] * vectors[part]) @ book.T
        found[part] = costs.argmin(axis=1)
    return found


def _seeds(vectors: np.ndarray, importance: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` of the vectors, each the best of some drawn by the error that zero and those before it leave."""
    some = vectors
    if len(vectors) > SEEDED:
        at = np.sort(rng.choice(len(vectors), SEEDED, replace=False, shuffle=False))
        some, importance = vectors[at], importance[at]
    missed = np.sum(importance * np.square(some), axis=1)
    chosen: list[int] = []
    for _ in range(count):
        mass = np.cumsum(missed)
        if not mass[-1] > 0:
            break
        drawn = np.searchsorted(mass, mass[-1] * rng.random(2 + int(np.log(count))), side="right")
        drawn = np.minimum(drawn, len(some) - 1)
        left = np.minimum(missed, [np.sum(importance * np.square(some - some[place]), axis=1) for place in drawn])
        best = int(left.sum(axis=1).argmin())
        chosen.append(int(drawn[best]))
        missed = left[best]
    return np.asarray(some[chosen])


def _means(vectors: np.ndarray, importance: np.ndarray, places: np.ndarray, book: np.ndarray) -> np.ndarray:
    """The weighted mean of the vectors of each entry; zero stays, and so do entries without vectors."""
    columns = [
        (np.bincount(places, u * v, len(book)), np.bincount(places, u, len(book)))
        for u, v in zip(importance.T, vectors.T)
    ]
    sums, masses = (np.stack(each, axis=1) for each in zip(*columns))
    means: np.ndarray = np.divide(sums, masses, out=book.copy(), where=masses > 0)
    means[0] = 0.0
    return means
