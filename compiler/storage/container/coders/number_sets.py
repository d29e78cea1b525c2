"""Small sets of numbers, coded bit by bit: the values of a codebook, and short vectors such as biases."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.storage.container.coders.adaptive import even_bits
from onnx_compress.compiler.storage.container.coders.notes import Notes

_LENGTH_BITS = 7
"""Number of bits that code a bit length up to 64."""


@dataclass(frozen=True)
class ElementKind:
    """How elements are stored: bytes per element, little-endian, and whether they are floating-point numbers."""

    itemsize: int
    is_float: bool

    @property
    def dtype(self) -> np.dtype:
        """The unsigned integer type of the same width, which holds the elements' bits."""
        return np.dtype(f"<u{self.itemsize}")

    @property
    def bits(self) -> int:
        """Bits per element."""
        return 8 * self.itemsize

    @property
    def sign(self) -> int:
        """The sign bit of a float; 0 for an integer, because integers are coded as unsigned."""
        return 1 << (self.bits - 1) if self.is_float else 0


def ordered(table: np.ndarray, kind: ElementKind) -> np.ndarray:
    """Distinct words in ascending order of the values they represent."""
    as_coded = table_kind(table, kind)
    return np.array(sorted(table.tolist(), key=lambda word: _signed(word, as_coded)), kind.dtype)


def _signed(word: int, kind: ElementKind) -> int:
    """An integer that orders like the value: for a float, its magnitude's bits with its sign."""
    return kind.sign - word if word & kind.sign else word


def table_kind(table: np.ndarray, kind: ElementKind) -> ElementKind:
    """The kind as which a table is coded: floats as numbers unless the table holds −0, which equals 0 as a number."""
    return ElementKind(kind.itemsize, kind.is_float and kind.sign not in table.tolist())


def code_table(notes: Notes, kind: ElementKind, table: np.ndarray | None, count: int) -> np.ndarray:
    """Code `count` distinct words that are `ordered`; None: read them. Low bits that are 0 in all words are omitted.

    The first word is coded directly, each other one as its difference to the word before.
    """
    if kind.is_float and not notes.flag("as numbers", table is None or table_kind(table, kind).is_float):
        kind = ElementKind(kind.itemsize, False)
    numbers = [0] * count if table is None else [_signed(word, kind) for word in table.tolist()]
    low = notes.adaptive.tree(notes.coder, "low bits", _low_zeros(numbers), _LENGTH_BITS)
    negative = notes.flag("first is negative", numbers[0] < 0)
    found = [_code_magnitude(notes, "first", abs(numbers[0]) >> low) * (-1 if negative else 1)]
    for before, number in pairwise(numbers):
        found.append(found[-1] + _code_magnitude(notes, "step", (number - before) >> low))
    limit = kind.sign or 1 << kind.bits
    if low > kind.bits or any(not -limit < number << low < limit for number in found):
        raise ModelError("a table in it holds values beyond their type: the file is damaged")
    return np.array([number << low if number >= 0 else kind.sign - (number << low) for number in found], kind.dtype)


def _low_zeros(numbers: list[int]) -> int:
    joined = 0
    for number in numbers:
        joined |= abs(number)
    return (joined & -joined).bit_length() - 1 if joined else 0


def _code_magnitude(notes: Notes, context: str, value: int) -> int:
    length = notes.adaptive.tree(notes.coder, context, value.bit_length(), _LENGTH_BITS)
    return 0 if length == 0 else 1 << (length - 1) | even_bits(notes.coder, value, length - 1)


def code_scalars(notes: Notes, kind: ElementKind, words: np.ndarray | None, count: int) -> np.ndarray:
    """Code `count` words one by one; None: read them.

    A float's exponent is predicted; its sign and mantissa are not.
    """
    given = [0] * count if words is None else words.tolist()
    if kind.is_float:
        return np.array(_code_floats(notes, kind, given), kind.dtype)
    found = [0]
    for word in given:
        folded = word << 1 if word < 1 << (kind.bits - 1) else (((1 << kind.bits) - word) << 1) - 1
        context = (kind.itemsize, min(found[-1], 7))
        found.append(notes.adaptive.number(notes.coder, context, folded))
    if max(found) >= 1 << kind.bits:
        raise ModelError("a vector in it holds values beyond their type: the file is damaged")
    mask = (1 << kind.bits) - 1
    return np.array([(value >> 1 if value % 2 == 0 else -(value + 1 >> 1)) & mask for value in found[1:]], kind.dtype)


def _code_floats(notes: Notes, kind: ElementKind, words: list[int]) -> list[int]:
    low = notes.adaptive.tree(notes.coder, "low bits", min(_low_zeros(words), kind.bits - 9), _LENGTH_BITS)
    rest = kind.bits - 9 - low  # the 8 bits below the sign: the exponent, or most of it, or more
    if rest < 0:
        raise ModelError("a vector in it is damaged")
    found, last = [], 0
    for word in words:
        node = 1
        for place in range(7, -1, -1):
            here = (node << 4 | kind.itemsize) << 3
            behind, about = 1 | here | last << 16, 2 | here | last >> 3 << 16
            bit = word >> (kind.bits - 9 + place) & 1
            node = node << 1 | notes.scalars.bit(notes.coder.bit, bit, here, behind, about, 3 | here, 4)
        last = node
        sign = notes.coder.bit(2048, word >> (kind.bits - 1))
        mantissa = even_bits(notes.coder, word >> low & ((1 << rest) - 1), rest)
        found.append(sign << (kind.bits - 1) | (node & 0xFF) << (kind.bits - 9) | mantissa << low)
    return found
