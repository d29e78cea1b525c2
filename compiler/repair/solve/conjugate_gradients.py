"""Conjugate gradients, for equations whose matrix is given as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Image: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Limit:
    """Conjugate gradients end after `steps`, or when the residual's norm is `tolerance` times the initial one."""

    steps: int
    tolerance: float


def conjugate_gradients(
    image: Image, rest: np.ndarray, scale: np.ndarray, limit: Limit, *, is_each_column: bool = False
) -> np.ndarray:
    """An approximate solution D of `image`(D) = `rest`, of the shape of `rest`.

    `image` multiplies by a symmetric, positive definite matrix. `scale` is the preconditioner, the inverse of its
    diagonal; zero in `scale` keeps an entry zero. Every step lowers the error, so stopping early does no harm. With
    `is_each_column` the columns of `rest` [K, M] are separate equations with steps of their own.

    Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952.
    """

    def dot(a: np.ndarray, b: np.ndarray) -> Any:
        return np.sum(a * b, axis=0) if is_each_column else float(np.vdot(a, b))

    tiny = np.finfo(np.float64).tiny
    found, rest = np.zeros_like(rest), rest.copy()
    direction = scale * rest
    size = dot(rest, direction)
    enough = limit.tolerance**2 * size
    for _ in range(limit.steps):
        if np.all(size <= enough):
            break
        to = image(direction)
        step = np.where(size <= enough, 0.0, size / np.maximum(dot(direction, to), tiny)).astype(rest.dtype)
        found += step * direction
        rest -= step * to
        steeper = scale * rest
        before, size = size, dot(rest, steeper)
        direction = steeper + np.asarray(size / np.maximum(before, tiny), rest.dtype) * direction
    return found
