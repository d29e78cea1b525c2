"""Find the few distinct values of a tensor, fast enough for millions of elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST = 256
"""Maximum number of distinct non-zero values for which a table is used."""
_SAMPLE = 1 << 14
_PART = 1 << 16


@dataclass(frozen=True)
class Distinct:
    """The distinct words of an array, ascending (`table`), and each element's index into them (`ranks`)."""

    table: np.ndarray
    ranks: np.ndarray

    def without_zero(self, mask: np.ndarray) -> Distinct:
        """The words where the non-zero mask is True; 0, if present, is the first entry of the table."""
        if self.table[0] != 0:
            return Distinct(self.table, self.ranks[mask])
        return Distinct(self.table[1:], self.ranks[mask] - self.ranks.dtype.type(1))


def distinct(words: np.ndarray) -> Distinct | None:
    """The distinct words of a non-empty flat array of unsigned integers; None if there are too many."""
    if words.dtype.itemsize <= 2:
        return _of_short(words)
    table = np.unique(words[:: len(words) // _SAMPLE + 1])
    if len(table) > MOST + 1:
        return None
    ranks, unknown = _ranked(words, table)
    if len(unknown):
        table = np.union1d(table, unknown)
        if len(table) > MOST + 1:
            return None
        ranks, _ = _ranked(words, table)
    return _unless_too_many(table, ranks)


def _of_short(words: np.ndarray) -> Distinct | None:
    table = np.flatnonzero(np.bincount(words)).astype(words.dtype)
    if len(table) > MOST + 1:
        return None
    places = np.zeros(1 << 8 * words.dtype.itemsize, np.uint16)
    places[table] = np.arange(len(table))
    return _unless_too_many(table, places[words])


def _ranked(words: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of each word in a table, and the words missing from it (all, or enough to exceed the maximum)."""
    ranks, unknown = np.empty(len(words), np.uint16), table[:0]
    for start in range(0, len(words), _PART):
        part = words[start : start + _PART]
        places = np.minimum(np.searchsorted(table, part), len(table) - 1)
        ranks[start : start + _PART] = places
        strangers = part[table[places] != part]
        if len(strangers):
            unknown = np.union1d(unknown, strangers)
        if len(unknown) > MOST + 1:
            break
    return ranks, unknown


def _unless_too_many(table: np.ndarray, ranks: np.ndarray) -> Distinct | None:
    return Distinct(table, ranks) if np.count_nonzero(table) <= MOST else None
