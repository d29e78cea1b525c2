"""Frequency tables for the range coder: how they are rounded and coded.

Frequencies are integers that add up to a power of two. All but the largest keep `_DIGITS` binary digits, which costs
almost nothing and halves the table, and the largest takes the remainder; if that would change it too much, the table
stays exact.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders.adaptive import even_bits
from onnx_compress.compiler.storage.container.coders.notes import Notes

_MOST_BITS = 14
_DIGITS = 5
_LENGTH_BITS = 4


def total_bits(count: int) -> int:
    """The exponent of the table's total for `count` symbols: it grows with the count and is enough for 256 symbols."""
    return int(min(max(int(count).bit_length() + 1, 10), _MOST_BITS))


def rounded(counts: np.ndarray) -> np.ndarray:
    """Frequencies proportional to the counts, at least 1 for each non-zero count."""
    parts = _exact(counts)
    short = _shortened(parts)
    largest = int(parts.argmax())
    short[largest] += parts.sum() - short.sum()
    is_near = abs(short[largest] - parts[largest]) * 8 <= parts[largest] and short[largest] == short.max()
    return short if is_near else parts


def _exact(counts: np.ndarray) -> np.ndarray:
    total = 1 << total_bits(int(counts.sum()))
    parts = np.maximum(np.rint(counts * (total / counts.sum())).astype(np.int64), counts > 0)
    while parts.sum() != total:
        largest = int(parts.argmax())
        excess = int(parts.sum()) - total
        parts[largest] -= min(excess, int(parts[largest]) // 2) if excess > 0 else excess
    return np.asarray(parts)


def _shortened(parts: np.ndarray) -> np.ndarray:
    """Each number rounded to `_DIGITS` binary digits; the largest stays exact."""
    step = np.maximum(1 << np.maximum(_lengths(parts) - _DIGITS, 0), 1)
    short = (parts + step // 2) // step * step
    short[parts.argmax()] = parts.max()
    return np.asarray(short)


def _lengths(parts: np.ndarray) -> np.ndarray:
    """Number of binary digits of each number."""
    return np.frexp(parts.astype(np.float64))[1].astype(np.int64)


def code(notes: Notes, parts: np.ndarray | None, alphabet: int, count: int) -> np.ndarray:
    """Code the frequencies of `count` symbols; None: read them. Raises ModelError."""
    given = np.zeros(alphabet, np.int64) if parts is None else parts
    first, end = span(notes, given)
    largest = first + notes.number("largest", int(given.argmax()) - first)
    is_short = notes.flag("few digits", bool((_shortened(given) == given).all()))
    found, length = np.zeros(alphabet, np.int64), 0
    for symbol in range(first, end):
        if symbol != largest:
            length, found[symbol] = _code_part(notes, int(given[symbol]), length, _DIGITS if is_short else _MOST_BITS)
    left = (1 << total_bits(count)) - int(found.sum())
    if largest >= end or left <= 0:
        raise ModelError("frequencies in it do not add up: the file is damaged")
    found[largest] = left
    return found


def cost(parts: np.ndarray) -> float:
    """Approximate number of bits that `code` writes."""
    return 24 + 7.0 * np.count_nonzero(parts)


def span(notes: Notes, table: np.ndarray) -> tuple[int, int]:
    """Code where a table's non-zero entries start and stop: (first, last + 1)."""
    used = np.flatnonzero(table)
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
    first = notes.number("first symbol", first)
    last = first + notes.number("symbols", last - first)
    if last >= len(table):
        raise ModelError("a table is longer than its alphabet: the file is damaged")
    return first, last + 1


def _code_part(notes: Notes, value: int, before: int, most_digits: int) -> tuple[int, int]:
    """Code one frequency in the context of the previous one's digit count; returns (digit count, frequency)."""
    length = notes.adaptive.tree(notes.coder, ("frequency", before), value.bit_length(), _LENGTH_BITS)
    if length <= 1:
        return length, length
    drop = max(length - most_digits, 0)
    digits = length - 1 - drop
    return length, (even_bits(notes.coder, value >> drop, digits) | 1 << digits) << drop
