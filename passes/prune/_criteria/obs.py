"""The loss of a layer after removing channels and re-solving the rest: second order, exact for a linear layer.

For Y = X W, G = XᵀX and P = G⁻¹, removing the rows R of W and re-solving the others gives the loss L and the update

    L(R) = tr(W_Rᵀ (P_RR)⁻¹ W_R)      W' = W − P_·R (P_RR)⁻¹ W_R      P' = P − P_·R (P_RR)⁻¹ P_R·

This is the optimal brain surgeon for whole rows: Hassibi and Stork, "Second Order Derivatives for Network Pruning",
NIPS 1992; Frantar and Alistarh, "Optimal Brain Compression", NeurIPS 2022 (arXiv:2208.11580).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

ROUNDS = 64
"""Maximum number of elimination steps of a wide layer, each removing several channels."""


@dataclass(frozen=True, eq=False)
class System:
    """One layer that reads channels: `gram` [K, K] of its centred inputs, `weights` [K, M], both float64.

    `rows` [sets, R] are the indices into K of each set of channels. `ridge` is added to the diagonal as a share of
    its mean.
    """

    gram: np.ndarray
    weights: np.ndarray
    rows: np.ndarray
    ridge: float

    @property
    def held(self) -> np.ndarray:
        """XᵀX with the ridge."""
        size = len(self.gram)
        level = self.ridge * max(float(np.trace(self.gram)) / size, float(np.finfo(np.float64).tiny))
        return np.asarray(self.gram + level * np.eye(size))

    @property
    def spread(self) -> float:
        """‖Y‖² of the centred output: the loss when everything is removed."""
        return max(float(np.sum(self.weights * (self.gram @ self.weights))), float(np.finfo(np.float64).tiny))

    def without(self, gone: np.ndarray) -> np.ndarray:
        """The weights [K, M] of least error without these sets, whose rows are zero."""
        found = np.zeros_like(self.weights)
        lost = self.rows[gone].ravel()
        kept = np.setdiff1d(np.arange(len(self.gram)), lost)
        if len(kept):
            missing = self.gram[np.ix_(kept, lost)] @ self.weights[lost]
            found[kept] = self.weights[kept] + np.linalg.solve(self.held[np.ix_(kept, kept)], missing)
        return found


Ordering: TypeAlias = Callable[[Sequence[System], int], np.ndarray]
"""The order [sets] in which a number of sets of channels are removed, given the layers that read them."""


def obs(systems: Sequence[System], size: int) -> np.ndarray:
    """The order of `elimination`."""
    return elimination(systems, size)[0]


def elimination(systems: Sequence[System], size: int) -> tuple[np.ndarray, np.ndarray]:
    """The order in which `size` sets of channels are removed, the cheapest first, and the loss of each removal.

    Each step removes the sets of least loss after the rest is re-solved, summed over the layers that read them,
    each loss as a share of its layer's ‖Y‖².
    """
    states = [_State.of(system) for system in systems]
    order: list[int] = []
    losses: list[float] = []
    left = np.arange(size)
    at_once = max(1, size // ROUNDS)
    while len(left):
        prices = np.sum([state.prices() for state in states], axis=0)
        lowest = np.argsort(prices, kind="stable")[:at_once]
        order += left[lowest].tolist()
        losses += prices[lowest].tolist()
        left = np.delete(left, lowest)
        for state in states:
            state.eliminate(lowest)
    return np.array(order, np.int64), np.array(losses)


@dataclass
class _State:
    """P [n·R, n·R] and W [n·R, M] of the n remaining sets, each set's R rows one after another."""

    inverse: np.ndarray
    weights: np.ndarray
    width: int
    scale: float

    @classmethod
    def of(cls, system: System) -> _State:
        own = system.rows.ravel()
        inverse = np.linalg.inv(system.held)[np.ix_(own, own)]
        return cls(inverse, system.weights[own], system.rows.shape[1], system.spread)

    def prices(self) -> np.ndarray:
        """L of each set [n]."""
        count = len(self.weights) // self.width
        blocks = self.inverse.reshape(count, self.width, count, self.width)[np.arange(count), :, np.arange(count)]
        weights = self.weights.reshape(count, self.width, -1)
        found: np.ndarray = np.sum(weights * np.linalg.solve(blocks, weights), axis=(1, 2)) / self.scale
        return found

    def eliminate(self, gone: np.ndarray) -> None:
        """Remove these sets, and update the rest."""
        is_gone = np.zeros(len(self.weights), bool)
        is_gone.reshape(-1, self.width)[gone] = True
        stay, leave = np.flatnonzero(~is_gone), np.flatnonzero(is_gone)
        across = self.inverse[np.ix_(stay, leave)]
        factor = np.linalg.solve(self.inverse[np.ix_(leave, leave)], np.hstack([self.weights[leave], across.T]))
        columns = self.weights.shape[1]
        self.weights = self.weights[stay] - across @ factor[:, :columns]
        self.inverse = self.inverse[np.ix_(stay, stay)] - across @ factor[:, columns:]
