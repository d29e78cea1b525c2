"""Rank channels by LASSO: keep the sets of channels whose terms best reproduce a layer's whole output.

With one factor β_i for each set of channels, X_i its inputs and W_i the weights that read them,

    min over β  ½ ‖Y − Σ_i β_i X_i W_i‖² + λ ‖β‖₁,      Y = Σ_i X_i W_i

is a quadratic form in β alone, ½ βᵀQβ − cᵀβ with Q_ij = tr(W_iᵀ X_iᵀ X_j W_j) and c = Q·1. So all rows are used,
through the same sums as for second order. At λ = 0 every β is 1, above some λ all are 0; in between they vanish one by
one: He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017 (arXiv:1707.06168), who
search for the λ that leaves the wanted number. Here the whole path is followed, which gives an order for every number:
Osborne, Presnell and Turlach, "A New Approach to Variable Selection in Least Squares Problems", 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from onnx_compress.passes.prune._criteria.obs import System

RIDGE = 1e-8
"""Ridge as a share of the mean diagonal; it makes the path unique if sets repeat each other."""
STEPS_PER_SET = 8
"""Maximum number of bends of the path per set of channels: most sets enter once."""
SAME = 1e-12
"""Bends closer than this share of λ count as one."""
UP, DOWN, LEAVE = range(3)
SIGNS = (1.0, -1.0, 0.0)
"""The change of a β at a bend: it becomes positive, negative, or zero."""


def lasso(systems: Sequence[System], size: int) -> np.ndarray:
    """The order [size] in which sets of channels are removed as λ grows.

    The systems of several layers are added, each as a share of its layer's ‖Y‖².
    """
    form = np.sum([_form(system) for system in systems], axis=0)
    return np.argsort(last_bends(form, form.sum(1)), kind="stable")


def _form(system: System) -> np.ndarray:
    """Q [sets, sets] of one layer."""
    count, own = len(system.rows), system.rows.ravel()
    weights = system.weights[own]
    products = system.gram[np.ix_(own, own)] * (weights @ weights.T)
    return np.asarray(products.reshape(count, -1, count, system.rows.shape[1]).sum((1, 3)) / system.spread)


def last_bends(form: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """For each i the λ [n] above which β_i stays zero, β minimizing ½ βᵀQβ − cᵀβ + λ‖β‖₁ with `form` Q and `linear` c.

    The path is piecewise linear in λ and is followed downwards from max |c|, where β = 0: on the set A of non-zero
    β, with signs s, Q_AA β_A = c_A − λ s_A, until one of A reaches zero or the gradient of another reaches λ.
    """
    size = len(linear)
    level = max(float(np.trace(form)) / max(1, size), float(np.finfo(np.float64).tiny))
    path = _Path(form + RIDGE * level * np.eye(size), linear)
    found = np.zeros(size)
    for _ in range(STEPS_PER_SET * size):
        entered = path.step()
        if path.price <= 0:
            break
        if entered is not None:
            found[entered] = max(found[entered], path.price)
    return found


@dataclass
class _Path:
    """The present point of the path: λ = `price`, and the signs [n] of β, 0 where β is zero.

    `undoing` is the change that would reverse the latest one, which can't happen at the same bend.
    """

    form: np.ndarray
    linear: np.ndarray
    price: float = field(init=False)
    signs: np.ndarray = field(init=False)
    undoing: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.price = float(np.abs(self.linear).max(initial=0.0))
        self.signs = np.zeros(len(self.linear))

    def step(self) -> int | None:
        """Go down to the next bend; returns the β that leaves zero there, or None if one becomes zero or λ is 0."""
        active = np.flatnonzero(self.signs)
        right = np.stack([self.linear[active], self.signs[active]], axis=1)
        fixed, slope = np.linalg.solve(self.form[np.ix_(active, active)], right).T
        # β_A = fixed − λ slope; the gradient elsewhere is rest + λ turn.
        across = self.form[:, active]
        rest, turn = self.linear - across @ fixed, across @ slope
        bends = np.full((3, len(self.linear)), -np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            bends[UP] = rest / (1 - turn)
            bends[DOWN] = -rest / (1 + turn)
            bends[:, active] = -np.inf
            bends[LEAVE, active] = fixed / slope
        if self.undoing is not None:
            bends[self.undoing] = -np.inf
        bends[~(bends <= self.price * (1 + SAME))] = -np.inf
        change, index = map(int, np.unravel_index(int(bends.argmax()), bends.shape))
        self.price = min(self.price, float(bends[change, index]))
        self.undoing = (LEAVE if change != LEAVE else UP if self.signs[index] > 0 else DOWN), index
        self.signs[index] = SIGNS[change]
        return None if change == LEAVE else index
