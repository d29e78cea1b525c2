"""Length-limited canonical Huffman codes, encoded and decoded in NumPy.

Code lengths come from package-merge (Larmore and Hirschberg, "A Fast Algorithm for Optimal Length-Limited Huffman
Codes", JACM 1990). The lengths define the code: codes of one length are consecutive numbers, in the order of their
symbols. Decoding looks up `LONGEST` bits at once; a stream is cut into lanes that are decoded in lockstep, because
one symbol at a time is too slow in Python.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace

import numpy as np

from onnx_compress.compiler.errors import ModelError

LONGEST = 12
"""Maximum code length in bits: the decoding table has 2¹² entries."""
_LANE = 1024
"""Minimum number of symbols per lane."""
_MOST_LANES = 2048


def lengths_of(counts: np.ndarray) -> np.ndarray:
    """The code length of each symbol, 0 if it does not occur, that minimizes Σ counts · lengths.

    Package-merge, as the coin collector's problem: each symbol has one coin of face value 2⁻ˡ per length l, at a price
    of its count; the cheapest coins with a total face value of n − 1 are bought, in packages.
    """
    used = np.flatnonzero(counts)
    if len(used) <= 1:
        return (counts > 0).astype(np.int64)
    coins = sorted((int(counts[symbol]), (int(symbol),)) for symbol in used)
    packages: list[tuple[int, tuple[int, ...]]] = []
    for _ in range(LONGEST):
        merged = sorted([*coins, *packages], key=lambda item: item[0])
        packages = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(merged[::2], merged[1::2])]
    lengths = np.zeros(len(counts), np.int64)
    for _, symbols in packages[: len(used) - 1]:
        np.add.at(lengths, np.array(symbols), 1)
    return lengths


def least_bits(counts: np.ndarray) -> int:
    """The bits that a Huffman code without a length limit takes: a lower bound for limited codes."""
    heap = counts[counts > 0].tolist()
    heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heappop(heap) + heap[0]
        heapreplace(heap, merged)
        total += merged
    return total


def is_complete(lengths: np.ndarray) -> bool:
    """Whether the lengths form a complete code, in which every bit string decodes."""
    used = lengths[lengths > 0]
    return len(used) > 1 and int(used.max()) <= LONGEST and int((1 << (LONGEST - used)).sum()) == 1 << LONGEST


def _codes(lengths: np.ndarray) -> np.ndarray:
    order = np.lexsort((np.arange(len(lengths)), lengths))
    order = order[lengths[order] > 0]
    steps = 1 << (LONGEST - lengths[order])
    codes = np.zeros(len(lengths), np.int64)
    codes[order] = (np.cumsum(steps) - steps) >> (LONGEST - lengths[order])
    return codes


def lanes_of(count: int) -> int:
    """The number of lanes into which `count` symbols are cut, all but the last of equal length."""
    return min(max(count // _LANE, 1), _MOST_LANES)


def encode(symbols: np.ndarray, lengths: np.ndarray) -> tuple[bytes, list[int]]:
    """The coded bits, lane after lane, each padded to whole bytes, and the number of bytes of each lane."""
    width = lengths[symbols]
    code = _codes(lengths)[symbols]
    lanes = lanes_of(len(symbols))
    step = -(-len(symbols) // lanes)
    sizes = [int(-(-width[start : start + step].sum() // 8)) for start in range(0, len(symbols), step)]
    starts = np.cumsum([0, *sizes]) * 8
    ends = np.cumsum(width)
    lane = np.arange(len(symbols)) // step
    places = ends - width - np.concatenate([[0], ends])[lane * step] + starts[lane]
    bits = np.zeros(int(starts[-1]), np.uint8)
    for place in range(int(lengths.max(initial=0))):
        at = np.flatnonzero(width > place)
        bits[places[at] + place] = code[at] >> (width[at] - 1 - place) & 1
    return np.packbits(bits).tobytes(), sizes


def decode(data: bytes, sizes: list[int], count: int, lengths: np.ndarray) -> np.ndarray:
    """The symbols. Requires complete `lengths`, and `data` as long as all lanes together. Raises ModelError."""
    if count == 0:
        return np.zeros(0, np.int64)
    symbol_at, length_at = _table(lengths)
    raw = np.frombuffer(data + bytes(4), np.uint8).astype(np.uint32)
    window = raw[:-3] << 16 | raw[1:-2] << 8 | raw[2:-1]
    step = -(-count // lanes_of(count))
    places = np.cumsum([0, *sizes[:-1]]) * 8
    limit = len(data) * 8
    found = np.zeros((step, len(sizes)), np.uint8)
    for line in found:
        code = window[places >> 3] >> (24 - LONGEST - (places & 7)) & ((1 << LONGEST) - 1)
        line[:] = symbol_at[code]
        places += length_at[code]
        np.minimum(places, limit, out=places)
    last = count - step * (len(sizes) - 1)
    if not 0 < last <= step:
        raise ModelError("a stream has the wrong number of lanes: the file is damaged")
    return found.T.reshape(-1)[:count].astype(np.int64)


def _table(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each string of `LONGEST` bits, the symbol it starts with and that symbol's code length."""
    order = np.lexsort((np.arange(len(lengths)), lengths))
    order = order[lengths[order] > 0]
    repeats = 1 << (LONGEST - lengths[order])
    return np.repeat(order, repeats).astype(np.uint8), np.repeat(lengths[order], repeats)
