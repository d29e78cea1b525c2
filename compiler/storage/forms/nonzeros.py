"""The non-zero values of a sparse weight as a stream: plain, or indices into a codebook that begins with 0."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.storage.forms import symbols
from onnx_compress.compiler.storage.forms.symbols import Packing
from onnx_compress.compiler.storage.program import Builder
from onnx_compress.compiler.storage.weight import WeightValues

NODES = 90
"""Approximate bytes of a codebook's nodes and names."""


def packing(weight: WeightValues, count: int, opset: int) -> Packing | None:
    """The packing of the indices of `count` values of the weight; None if plain values are smaller."""
    if weight.with_zero is None:
        return None
    codebook = weight.with_zero[0]
    found = Packing.best(max(2, len(codebook)), count, opset)
    return found if found.nbytes(count) + codebook.nbytes + NODES < count * weight.itemsize else None


def least_bytes(weight: WeightValues, count: int, opset: int) -> int:
    """Bytes of `count` values, without nodes."""
    found = packing(weight, count, opset)
    if found is None or weight.with_zero is None:
        return count * weight.itemsize
    return found.nbytes(count) + weight.with_zero[0].nbytes


def write_values(build: Builder, weight: WeightValues, at: np.ndarray, found: Packing | None) -> str:
    """Add nodes that compute a vector: the non-zero with each index in `at`, zero for -1; padding may follow.

    `found` is the result of `packing`.
    """
    if found is None or weight.with_zero is None:
        nonzero = np.concatenate([weight.flat[weight.positions], np.zeros(1, weight.flat.dtype)])
        return build.part("v", nonzero[at])
    codebook, indices = weight.with_zero
    rows = symbols.write_lookup(build, np.append(indices, 0)[at], codebook, found)
    return rows if found.per_word == 1 else build.step("Reshape", rows, build.shape(-1), out=".y")
