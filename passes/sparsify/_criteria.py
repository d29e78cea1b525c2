"""The importance of single weights, and how weights of different layers compare without data."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt

import numpy as np

from onnx_compress.compiler.repair.behind_activation import LEAST_ACTIVITY, Bounds
from onnx_compress.compiler.repair.solve.equations import Solver

CRITERIA = ("activation", "obs", "magnitude", "std", "lamp")
BY_DATA = ("activation", "obs")
"""Criteria that use the inputs of a layer."""


def scores(criterion: str, weights: np.ndarray, solver: Solver | None) -> np.ndarray:
    """The importance [groups, K, M] of weights within their layer; `solver` holds the equations on their support.

    magnitude, std, lamp    w²
    activation              w² · H_kk, H = XᵀX of centred inputs: the loss if nothing else changes
    obs                     w² / [(H_SS)⁻¹]_kk, S the support of its output: the loss if the rest is re-solved

    activation: Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (Wanda), ICLR 2024
    (arXiv:2306.11695). obs: Hassibi and Stork, "Second Order Derivatives for Network Pruning", NIPS 1992; Frantar
    and Alistarh, "Optimal Brain Compression", NeurIPS 2022 (arXiv:2208.11580).
    """
    if criterion not in BY_DATA or solver is None:
        return np.asarray(np.square(weights))
    if criterion == "activation":
        return np.asarray(np.square(weights) * np.diagonal(solver.gram, axis1=1, axis2=2)[:, :, None])
    return np.asarray(np.square(weights) / np.stack([system.inverse_diagonal() for system in solver.systems()]))


def activity(solver: Solver, bounds: Bounds) -> np.ndarray:
    """How often each output [groups, M] lies between the bounds, assuming normally distributed outputs."""
    weights, rows = solver.present, max(1, solver.count)
    means = np.einsum("gk,gkm->gm", solver.sums, weights) / rows + solver.shift
    squares = np.sum(weights * (solver.gram @ weights), axis=1) / rows
    spread = np.sqrt(np.maximum(squares if solver.free.shift else squares - means**2, 1e-30))
    low, high = (_below((bound - means) / spread) for bound in bounds.both)
    return np.asarray(np.maximum(high - low, LEAST_ACTIVITY))


def _below(values: np.ndarray) -> np.ndarray:
    """The cumulative normal distribution at these values."""
    return np.array([(1 + erf(value / sqrt(2))) / 2 for value in values.reshape(-1)]).reshape(values.shape)


def comparable(criterion: str, weights: np.ndarray) -> np.ndarray:
    """The importance of one layer's weights relative to those of other layers, without data.

    std     |w| / σ, σ the standard deviation of the layer's non-zero weights: one threshold s·σ for all, as in Han et
            al., "Learning both Weights and Connections", NIPS 2015 (arXiv:1506.02626)
    lamp    w² / Σ v² over the layer's v with |v| ≥ |w|: Lee et al., "Layer-adaptive Sparsity for the Magnitude-based
            Pruning", ICLR 2021 (arXiv:2010.07611)
    other   w² / Σ v² over the layer
    """
    squares: np.ndarray = np.square(weights.reshape(-1))
    if criterion == "std":
        alive = weights[weights != 0]
        spread = float(np.std(alive)) if alive.size else 0.0
        return np.asarray(np.sqrt(squares) / (spread or 1.0)).reshape(weights.shape)
    if criterion != "lamp":
        return np.asarray(squares / (squares.sum() or 1.0)).reshape(weights.shape)
    order = np.argsort(-squares, kind="stable")
    found = np.empty_like(squares)
    found[order] = squares[order] / np.maximum(np.cumsum(squares[order]), np.finfo(np.float64).tiny)
    return np.asarray(found.reshape(weights.shape))


def shares(importance: Sequence[np.ndarray], total: int) -> np.ndarray:
    """The number of weights [layers] that each layer keeps if the `total` most important over all layers stay."""
    joined = np.concatenate([one.reshape(-1) for one in importance])
    owners = np.repeat(np.arange(len(importance)), [one.size for one in importance])
    highest = np.argsort(-joined, kind="stable")[: max(0, total)]
    highest = highest[joined[highest] > 0]
    return np.bincount(owners[highest], minlength=len(importance))
