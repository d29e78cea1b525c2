"""Streams of small integers (symbols), several per word.

m = ⌊log_k 2^bits⌋ symbols s_j < k share a word: w = Σ s_j · k^j, s_j = (w / k^j) mod k. Words of 8 and 16 bits are
looked up in a table [2^bits, m] that all weights with the same k share and that is computed when the model is loaded.
Words of 64 bits (63 used) come close to log₂ k bits per symbol for any k: 4.27 for 17, 5.33 for 32, 9.14 for 500.
They are decoded by division, which takes five times as long, so they serve only short streams.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ml_dtypes import uint4

from onnx_compress.compiler.storage.program import Builder

INT32 = 6
NIBBLES_OPSET = 21
"""The first opset with 4-bit integers."""
TABLE_COST = {4: 0, 8: 0, 16: 160, 64: 60}
"""Bytes of the nodes and constants of each word width: what it must save compared with 8-bit words."""
SHORT = 1 << 18
"""Maximum number of symbols of a stream decoded by division."""
LARGEST = {4: 4, 8: 8, 16: 16, 64: 63}
"""Number of used bits per word width."""


@dataclass(frozen=True)
class Packing:
    """`per_word` symbols below `base` in a word of `bits` bits; 4-bit words are ONNX's own uint4."""

    base: int
    bits: int
    per_word: int

    @classmethod
    def best(cls, base: int, count: int, opset: int) -> Packing:
        """The smallest packing of `count` symbols below `base`."""
        if 6 < base <= 16 and opset >= NIBBLES_OPSET:
            return cls(base, 4, 1)
        widths = [bits for bits in (8, 16, 64) if base <= 1 << LARGEST[bits] and (bits < 64 or count <= SHORT)]
        found = [cls(base, bits, most_per_word(base, bits)) for bits in widths or (64,)]
        return min(found, key=lambda p: p.nbytes(count) + (TABLE_COST[p.bits] if p.per_word > 1 else 0))

    def nbytes(self, count: int) -> int:
        """Size of `count` symbols in bytes."""
        return (-(-count // self.per_word) * self.bits + 7) // 8

    def pack(self, symbols: np.ndarray) -> np.ndarray:
        """The symbols (any shape, kept if a word holds one symbol) as words, the last word padded with zeros."""
        kind = {4: np.dtype(uint4), 8: np.dtype(np.uint8), 16: np.dtype(np.uint16), 64: np.dtype(np.int64)}[self.bits]
        if self.per_word == 1:
            return np.asarray(symbols).astype(kind)
        wide = np.dtype(np.int64 if self.bits == 64 else np.uint16)
        flat = np.asarray(symbols).reshape(-1)
        words = np.zeros(-(-flat.size // self.per_word), wide)
        for j in range(self.per_word):
            digits = flat[j :: self.per_word].astype(wide)
            words[: len(digits)] += digits * np.asarray(self.base**j, wide)
        return words.astype(kind)


def most_per_word(base: int, bits: int) -> int:
    """The largest m with base^m ≤ 2^bits."""
    per_word = 1
    while base ** (per_word + 1) <= 1 << LARGEST[bits]:
        per_word += 1
    return per_word


def _table(build: Builder, packing: Packing) -> str:
    """Add nodes, shared by the whole model, that compute the symbols of every possible word, int32 [2^bits, m]."""
    bits, base = packing.bits, packing.base
    zero, one = build.shared("i0", np.array(0, np.int32)), build.shared("i1", np.array(1, np.int32))
    limit = build.shared(f"i{1 << bits}", np.array(1 << bits, np.int32))
    words = build.common("Range", zero, limit, one, out=f"r{bits}")
    powers = base ** np.arange(packing.per_word, dtype=np.int64)[:, None]
    name = f"{base}" if bits == 8 else f"{base}w"
    divisors = build.shared(f"p{name}", powers.astype(np.int32))
    shifted = build.common("Div", words, divisors, out=f"q{name}")
    turned = build.common("Transpose", shifted, out=f"u{name}")
    return build.common("Mod", turned, build.shared(f"i{base}", np.array(base, np.int32)), out=f"t{name}")


def _divided(build: Builder, symbols: np.ndarray, packing: Packing, suffix: str) -> str:
    """Add nodes that compute the symbols by division, int64 [words, m]."""
    powers = packing.base ** np.arange(packing.per_word, dtype=np.int64)
    words = build.part(suffix, packing.pack(symbols)[:, None])
    shifted = build.step("Div", words, build.shared(f"p{packing.base}d", powers), out=f".{suffix}q")
    base = build.shared(f"i{packing.base}d", np.array(packing.base, np.int64))
    return build.step("Mod", shifted, base, out=f".{suffix}m")


def write(build: Builder, symbols: np.ndarray, packing: Packing, suffix: str) -> str:
    """Add nodes that compute `symbols`, in their shape if a word holds one, otherwise as a padded vector."""
    if packing.bits == 64:
        rows = _divided(build, symbols, packing, suffix)
    else:
        rows = build.step("Cast", build.part(suffix, packing.pack(symbols)), out=f".{suffix}i", to=INT32)
        if packing.per_word == 1:
            return rows
        rows = build.step("Gather", _table(build, packing), rows, out=f".{suffix}g")
    return build.step("Reshape", rows, build.shape(-1), out=f".{suffix}f")


def write_lookup(build: Builder, symbols: np.ndarray, codebook: np.ndarray, packing: Packing) -> str:
    """Add nodes that compute `codebook[symbols]`, in the symbols' shape if a word holds one, otherwise rows of m."""
    # The table holds every symbol below the base, so a codebook of one value needs a second entry.
    values = build.part("c", np.resize(codebook, max(len(codebook), packing.base)))
    if packing.bits == 64:
        return build.step("Gather", values, _divided(build, symbols, packing, "i"), out=".v")
    if packing.per_word > 1:
        # A table of values rather than symbols: one lookup of m neighbours per word makes loading fast.
        values = build.step("Gather", values, _table(build, packing), out=".t")
    words = build.step("Cast", build.part("i", packing.pack(symbols)), out=".j", to=INT32)
    return build.step("Gather", values, words, out=".v")
