"""The importance of channels: scores from the weights alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np


@dataclass(frozen=True, eq=False)
class Slices:
    """The part of one axis of one weight that belongs to each channel of a group: `values` [channels, elements].

    `taps` consecutive elements are one kernel of a convolution; 1 for other weights.

    `share` [channels] is each channel's share of the energy along the axis: ‖w_i‖², times the variance of the input
    if measured, over the sum for the whole axis. `reach` [channels] is the same with ‖w_i‖₁ times the root mean
    square of the input.

    `role`: 'out' for the rows that compute the channel, 'in' for the columns that read it, 'scale' for the factor
    of its normalization, otherwise 'shift', 'statistic' or ''.
    """

    role: str
    values: np.ndarray
    share: np.ndarray
    reach: np.ndarray
    taps: int = 1


BASIS, SPREADS = 5, 1.0
"""Kernels of a shared basis, and standard deviations below which a coefficient is zero: as in PENNI."""

Criterion: TypeAlias = Callable[[Sequence[Slices], np.random.Generator], np.ndarray | None]
"""Scores [channels] of a group from its slices, higher for channels to keep; None if no slice applies."""


def magnitude(slices: Sequence[Slices], order: int) -> np.ndarray | None:
    """Σ over the weights that compute or read a channel of ‖slice‖_p relative to the mean over channels.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (arXiv:1608.08710); summed over all coupled
    weights as in Fang et al., "DepGraph", CVPR 2023 (arXiv:2301.12900).
    """
    norms = [np.linalg.norm(s.values.astype(np.float64), order, axis=1) for s in slices if s.role in ("out", "in")]
    if not norms:
        norms = [np.linalg.norm(s.values.astype(np.float64), order, axis=1) for s in slices]
    return _sum(norms)


def l1(slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray | None:
    """Sums of absolute values."""
    return magnitude(slices, 1)


def l2(slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray | None:
    """Euclidean norms."""
    return magnitude(slices, 2)


def energy(slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray | None:
    """Σ over the layers that read channel i of Var(X_i) · ‖W_i‖² / Σ_j Var(X_j) · ‖W_j‖².

    The share of a layer's output that is lost when the channel is replaced by its mean, if inputs are uncorrelated:
    Evci et al., "Mean Replacement Pruning", 2018. The layers of one group are summed, and groups can be compared.
    Channels that no weight reads (queries and keys) are scored by the weights that compute them.
    """
    shares = [s.share for s in slices if s.role == "in"] or [s.share for s in slices if s.role == "out"]
    return np.sum(shares or [s.share for s in slices], axis=0) if slices else None


def activation(slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray | None:
    """Σ over the layers that read channel i of ‖W_i‖₁ · ‖X_i‖₂, relative to the sum over channels.

    Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024 (arXiv:2306.11695),
    summed over the weights of a channel. Channels that no weight reads are scored by the weights that compute them.
    """
    found = [s.reach for s in slices if s.role == "in"] or [s.reach for s in slices if s.role == "out"]
    return np.sum(found or [s.reach for s in slices], axis=0) if slices else None


def fpgm(slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray | None:
    """Σ_j ‖w_i − w_j‖₂ over the filters that compute the channels: filters near the geometric median are redundant.

    He et al., "Filter Pruning via Geometric Median", CVPR 2019 (arXiv:1811.00250).
    """
    return _sum([_distances(s.values.astype(np.float64)) for s in slices if s.role == "out"])


def _distances(rows: np.ndarray) -> np.ndarray:
    squares = (rows**2).sum(1)
    pairs = squares[:, None] + squares - 2 * rows @ rows.T
    np.fill_diagonal(pairs, 0.0)
    return np.asarray(np.sqrt(np.maximum(pairs, 0.0)).sum(1))


def bn(slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray | None:
    """|γ| of the normalizations: Liu et al., "Network Slimming", ICCV 2017 (arXiv:1708.06519)."""
    return _sum([np.abs(s.values.astype(np.float64)).mean(1) for s in slices if s.role == "scale"])


def penni(slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray | None:
    """Σ|α| over the weights that compute a channel or over those that read it, whichever is less, relative to its mean.

    α are the coefficients of the kernels in the best basis of `BASIS` kernels that all kernels of a layer share;
    those below one standard deviation count as zero. A channel without coefficients on either side is dead: the
    intersection survives. Li et al., "PENNI: Pruned Kernel Sharing for Efficient CNN Inference", ICML 2020
    (arXiv:2005.07133); coupled layers of one side are summed, so that a channel stays if one of them needs it.
    """
    sides = [_sum([_surviving(s) for s in slices if s.role == role]) for role in ("out", "in")]
    found = [side / side.mean() if side.any() else side for side in sides if side is not None]
    return np.min(found, axis=0) if found else None


def _surviving(part: Slices) -> np.ndarray:
    """Σ|α| of each channel over the coefficients above the threshold."""
    coefficients = shared_kernels(part.values.reshape(-1, part.taps).astype(np.float64))
    sizes = np.abs(coefficients)
    kept = np.where(sizes >= SPREADS * coefficients.std(), sizes, 0.0)
    return np.asarray(kept.reshape(len(part.values), -1).sum(1))


def shared_kernels(kernels: np.ndarray) -> np.ndarray:
    """The coefficients [kernels, d] of kernels [kernels, taps] in their best common basis, d at most `BASIS`.

    The kernels are not centred: their mean would be lost.
    """
    _, vectors = np.linalg.eigh(kernels.T @ kernels)
    return np.asarray(kernels @ vectors[:, ::-1][:, :BASIS])


def random(slices: Sequence[Slices], rng: np.random.Generator) -> np.ndarray | None:
    """Random scores: the baseline for every other criterion."""
    return rng.random(len(slices[0].values)) if slices else None


def _sum(norms: list[np.ndarray]) -> np.ndarray | None:
    if not norms:
        return None
    total = np.zeros(len(norms[0]))
    for norm in norms:
        mean = norm.mean()
        total += norm / mean if mean > 0 else norm
    return total


CRITERIA: dict[str, Criterion] = {
    "energy": energy,
    "activation": activation,
    "l1": l1,
    "l2": l2,
    "fpgm": fpgm,
    "bn": bn,
    "penni": penni,
    "random": random,
}
