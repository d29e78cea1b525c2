"""Rounding weights to few bits with one symmetric scale per group, in pure NumPy.

w ≈ q·s with integers |q| ≤ 2^(bits−1) − 1. The scale that maps the largest weight to the largest integer is exact for
it and coarse for the others; a smaller scale clips the largest weight and is finer for the rest. For each group the
scale with the least squared error is taken from a grid, then refined: for fixed q the best scale is ⟨w, q⟩ / ⟨q, q⟩.
All arithmetic is in float64; the error never exceeds that of the scale that clips nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHRINKS = {8: np.linspace(1.0, 0.8, 9), 7: np.linspace(1.0, 0.8, 9), 4: np.linspace(1.0, 0.4, 25)}
"""Scales to try by number of bits, as shares of the scale that clips nothing."""
REFINEMENTS = 3
CHUNK = 1 << 15
"""Weights processed at once: as float64, they and their intermediate results stay in the CPU's cache."""


@dataclass(frozen=True)
class Rounded:
    """Integers, int8 of the weights' shape [groups, n], and the scale of each group, float32 [groups]."""

    integers: np.ndarray
    scales: np.ndarray


def limit(bits: int) -> int:
    """The largest integer of the symmetric range: 127 for 8 bits, 7 for 4."""
    return int((1 << (bits - 1)) - 1)


def round_groups(weights: np.ndarray, bits: int, *, search: bool = True, least: np.ndarray | None = None) -> Rounded:
    """Round each row of `weights` [groups, n] with its own scale.

    Without `search` the scale clips nothing. `least` [groups] is a lower bound of the scales (a bias that shares them
    must fit its integers). A group of zeros gets the scale 1, or `least`.
    """
    integers = np.empty(weights.shape, np.int8)
    scales = np.empty(len(weights), np.float32)
    rows = max(1, CHUNK // max(1, weights.shape[1]))
    for start in range(0, len(weights), rows):
        part = slice(start, start + rows)
        block = np.asarray(weights[part], np.float64)
        scales[part] = _scales(block, bits, search=search)
        if least is not None:
            scales[part] = np.maximum(scales[part], least[part])
        integers[part] = _levels(block, scales[part].astype(np.float64), limit(bits))
    return Rounded(integers, scales)


def _scales(block: np.ndarray, bits: int, *, search: bool) -> np.ndarray:
    top = limit(bits)
    largest = np.abs(block).max(1, initial=0.0)
    widest = _as_stored(np.where(largest / top > np.finfo(np.float32).tiny, largest / top, 1.0))
    best = widest
    if not search:
        return best
    error = _errors(block, best, top)
    for share in SHRINKS[bits]:
        best, error = _better(block, _as_stored(widest * share), top, best, error)
    for _ in range(REFINEMENTS):
        best, error = _better(block, _as_stored(_refined(block, best, top)), top, best, error)
    return best


def _better(
    block: np.ndarray, candidate: np.ndarray, top: int, best: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    found = _errors(block, candidate, top)
    return np.where(found < error, candidate, best), np.minimum(found, error)


def _as_stored(scales: np.ndarray) -> np.ndarray:
    return scales.astype(np.float32).astype(np.float64)


def _refined(block: np.ndarray, scales: np.ndarray, top: int) -> np.ndarray:
    """The least-squares scale for the integers of `scales`; unchanged where all integers are 0."""
    integers = _levels(block, scales, top)
    norm = np.einsum("gn,gn->g", integers, integers)
    fitted = np.einsum("gn,gn->g", block, integers) / np.maximum(norm, 1.0)
    return np.where((norm > 0) & (fitted > np.finfo(np.float32).tiny), fitted, scales)


def _errors(block: np.ndarray, scales: np.ndarray, top: int) -> np.ndarray:
    lost = _levels(block, scales, top)
    lost *= scales[:, None]
    np.subtract(block, lost, out=lost)
    return np.asarray(np.einsum("gn,gn->g", lost, lost))


def _levels(block: np.ndarray, scales: np.ndarray, top: int) -> np.ndarray:
    """The integers, as float64."""
    levels = block / scales[:, None]
    np.rint(levels, out=levels)
    return np.asarray(np.clip(levels, -top, top, out=levels))
