"""Weighted k-means in one dimension with one centroid fixed at zero, in pure NumPy.

    min over c of Σ u · (w − c[p])²,   p the index of the value nearest to w,   zero one of the c

In one dimension clusters are intervals, so after one sort every step works on prefix sums: one iteration of Lloyd's
algorithm takes k binary searches, independent of the number of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ITERATIONS = 200
"""Maximum number of Lloyd's iterations; they end when no weight changes its cluster."""
INITS = ("linear", "density", "forgy", "optimal")


@dataclass(frozen=True, eq=False)
class Sorted:
    """Distinct values [n] in ascending order, and prefix sums [n + 1] of u, u·w and u·w²."""

    values: np.ndarray
    mass: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, importance: np.ndarray) -> Sorted:
        """From weights [m] in any order and the positive importance [m] of each."""
        distinct, owner = np.unique(values.astype(np.float64), return_inverse=True)
        mass = np.bincount(owner.reshape(-1), importance)
        return cls(distinct, *(np.concatenate([[0.0], np.cumsum(mass * distinct**power)]) for power in range(3)))

    def part(self, chosen: slice) -> Sorted:
        """A range of the values."""
        start, stop, _ = chosen.indices(len(self.values))
        ends = slice(start, stop + 1)
        return Sorted(self.values[chosen], *(s[ends] - s[start] for s in (self.mass, self.first, self.second)))

    def mirrored(self) -> Sorted:
        """The same with every value negated."""
        mass, first, second = (s[-1] - s[::-1] for s in (self.mass, self.first, self.second))
        return Sorted(-self.values[::-1], mass, -first, second)

    def costs(self, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
        """Σ u · (w − mean)² of the values from starts up to but not including stops."""
        mass = self.mass[stops] - self.mass[starts]
        first = self.first[stops] - self.first[starts]
        spread = self.second[stops] - self.second[starts] - first**2 / np.where(mass > 0, mass, 1.0)
        return np.asarray(np.maximum(spread, 0.0))

    def means(self, edges: np.ndarray, present: np.ndarray) -> np.ndarray:
        """The mean between successive `edges` [k + 1], and `present` [k] for empty intervals."""
        mass, first = np.diff(self.mass[edges]), np.diff(self.first[edges])
        return np.where(mass > 0, first / np.where(mass > 0, mass, 1.0), present)


def centroids(
    weights: np.ndarray, importance: np.ndarray, count: int, init: str, rng: np.random.Generator
) -> np.ndarray:
    """At most `count` values, ascending and including zero, for weights [n] of positive importance [n].

    `init` is the start of Lloyd's iterations: "linear", equally spaced between the extremes; "density", at equal
    steps of the distribution; "forgy", at weights drawn at random; or "optimal": no iterations, but the global
    optimum.
    """
    is_zero = weights == 0
    known = Sorted.of(weights[~is_zero], importance[~is_zero])
    if len(known.values) < count:
        return np.union1d(known.values, [0.0])
    if init == "optimal":
        return optimal(known, count)
    return lloyd(known, _start(known, count - 1, init, rng))


def _start(known: Sorted, count: int, init: str, rng: np.random.Generator) -> np.ndarray:
    """The non-zero values."""
    if init == "linear":
        grid = np.linspace(known.values[0], known.values[-1], count + 1)
        # The value nearest to zero is replaced by zero.
        return np.delete(grid, np.argmin(np.abs(grid)))
    if init == "density":
        levels = (np.arange(count) + 0.5) / count * known.mass[-1]
        return np.unique(known.values[np.searchsorted(known.mass[1:], levels)])
    return np.sort(rng.choice(known.values, count, replace=False, shuffle=False))


def lloyd(known: Sorted, start: np.ndarray) -> np.ndarray:
    """Lloyd's iterations from `start`, ascending values without zero; zero stays an additional centroid."""
    book = np.sort(np.append(start[start != 0], 0.0))
    zero = int(np.searchsorted(book, 0.0))
    before = None
    for _ in range(ITERATIONS):
        inner = np.searchsorted(known.values, (book[1:] + book[:-1]) / 2)
        edges = np.concatenate([[0], inner, [len(known.values)]])
        if before is not None and np.array_equal(edges, before):
            break
        book = known.means(edges, book)
        book[zero] = 0.0
        before = edges
    return book


def optimal(known: Sorted, count: int) -> np.ndarray:
    """The global optimum with `count` centroids, including zero.

    The values on either side of zero are clustered separately: f(m) is the least cost of one side with m clusters
    besides zero's, which takes the values nearest to zero at the cost Σ u·w²; then the best m for both sides
    together.
    """
    split = int(np.searchsorted(known.values, 0.0))
    sides = [known.part(slice(0, split)).mirrored(), known.part(slice(split, None))]
    (left, left_cuts), (right, right_cuts) = (_side(side, count - 1) for side in sides)
    together = left[:count] + right[count - 1 - np.arange(count)]
    fewer = int(np.argmin(together))
    below = _means_of(sides[0], left_cuts, fewer)
    above = _means_of(sides[1], right_cuts, count - 1 - fewer)
    return np.concatenate([-below[::-1], [0.0], above])


def _side(side: Sorted, most: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """For positive values the least costs f(0 … most), and for each number of clusters where the last one begins.

    D_m(j), the cost of the first j values with m clusters besides zero's, is min over i of D_{m-1}(i) + cost(i, j),
    and the best i grows with j: divide and conquer finds all j in n log n steps (Xiaolin Wu, "Optimal Quantization
    by Matrix Searching", J. Algorithms 1991).
    """
    size = len(side.values)
    costs = side.second.copy()
    totals, cuts = [costs[-1]], []
    for _ in range(most):
        costs, cut = _layer(side, costs)
        totals.append(costs[size])
        cuts.append(cut)
    return np.array(totals), cuts


def _layer(side: Sorted, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """D_m from D_{m-1} [n + 1] and the cuts [n + 1], all midpoints of one depth of the recursion at once."""
    size = len(before)
    found, cut = np.full(size, np.inf), np.zeros(size, np.int64)
    low, high = np.array([0]), np.array([size - 1])
    least, most = np.array([0]), np.array([size - 1])
    while len(low):
        middle = (low + high) // 2
        best = _best_cuts(side, before, middle, least, np.minimum(most, middle))
        cut[middle], found[middle] = best, before[best] + side.costs(best, middle)
        low, high = np.concatenate([low, middle + 1]), np.concatenate([middle - 1, high])
        least, most = np.concatenate([least, best]), np.concatenate([best, most])
        kept = low <= high
        low, high, least, most = low[kept], high[kept], least[kept], most[kept]
    return found, cut


def _best_cuts(side: Sorted, before: np.ndarray, stops: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """For each of the `stops` the first i of least ≤ i ≤ most where before[i] + cost(i, stop) is least."""
    lengths = most - least + 1
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    owner = np.repeat(np.arange(len(stops)), lengths)
    tried = np.arange(lengths.sum()) - starts[owner] + least[owner]
    totals = before[tried] + side.costs(tried, stops[owner])
    smallest = np.minimum.reduceat(totals, starts)
    hits = np.flatnonzero(totals == smallest[owner])
    first = hits[np.searchsorted(hits, starts)]
    return np.asarray(tried[first])


def _means_of(side: Sorted, cuts: list[np.ndarray], count: int) -> np.ndarray:
    """The means of `count` clusters besides zero's."""
    edges = [len(side.values)]
    for cut in reversed(cuts[:count]):
        edges.append(int(cut[edges[-1]]))
    ends = np.array(edges[::-1])
    ends = ends[np.append(True, np.diff(ends) > 0)]
    return side.means(ends, np.zeros(len(ends) - 1))
