"""Which weights share a scale, and the layout of integers and scales, in pure NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onnx_compress.passes.quantize._weights.rounding import round_groups


@dataclass(frozen=True)
class Stored:
    """w ≈ reshape(integers · scales, shape): int8 integers, float32 scales that broadcast against them."""

    integers: np.ndarray
    scales: np.ndarray
    shape: tuple[int, ...]

    @property
    def values(self) -> np.ndarray:
        """The decoded weights, float32."""
        return np.asarray(self.integers.astype(np.float32) * self.scales).reshape(self.shape)


def per_channel(values: np.ndarray, kept: tuple[int, ...], bits: int) -> Stored:
    """One scale per position of the `kept` axes; integers have the shape of `values`."""
    rest = tuple(axis for axis in range(values.ndim) if axis not in kept)
    order = (*kept, *rest)
    moved = values.transpose(order)
    rounded = round_groups(moved.reshape(math.prod(moved.shape[: len(kept)]), -1), bits)
    back = np.argsort(order)
    integers = rounded.integers.reshape(moved.shape).transpose(back)
    scales = rounded.scales.reshape([*moved.shape[: len(kept)], *(1 for _ in rest)]).transpose(back)
    return Stored(np.ascontiguousarray(integers), np.ascontiguousarray(scales), values.shape)


def blocked(values: np.ndarray, kept: tuple[int, ...], bits: int, block: int) -> Stored | None:
    """One scale per `block` weights of an output channel; None if blocks do not divide a channel.

    A matrix [k, n] whose columns are the channels becomes [k/block, block, n]; any other weight is divided along the
    rows of its first axis into [rows, blocks, block].
    """
    if values.ndim == 2 and kept == (1,):
        depth, columns = values.shape
        if depth % block:
            return None
        cut = values.reshape(depth // block, block, columns)
        rounded = round_groups(cut.transpose(0, 2, 1).reshape(-1, block), bits)
        integers = rounded.integers.reshape(depth // block, columns, block).transpose(0, 2, 1)
        return Stored(np.ascontiguousarray(integers), rounded.scales.reshape(-1, 1, columns), values.shape)
    length = math.prod(values.shape[1:])
    if length % block:
        return None
    rounded = round_groups(values.reshape(-1, block), bits)
    layout = (values.shape[0], length // block)
    return Stored(rounded.integers.reshape(*layout, block), rounded.scales.reshape(*layout, 1), values.shape)


def pack_nibbles(integers: np.ndarray) -> np.ndarray:
    """Two 4-bit integers of −8…7 per byte, the first in the low half, each stored as itself plus 8; uint8 [n/2].

    The number of integers is even.
    """
    flat = (integers.reshape(-1) + 8).astype(np.uint8)
    return np.asarray(flat[0::2] | (flat[1::2] << 4), np.uint8)


def nibble_table() -> np.ndarray:
    """The two integers in each byte of `pack_nibbles`, float32 [256, 2]."""
    byte = np.arange(256)
    return np.stack([byte % 16, byte // 16], axis=1).astype(np.float32) - 8
