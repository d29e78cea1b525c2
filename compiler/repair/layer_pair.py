"""Two layers with a Relu or Clip between them, fitted together for the second layer's aim.

Least squares, layer by layer, restores the first layer's output. But when channels between the two were removed, the
remaining ones can take over part of their work: what counts is the second layer's output z = c(X V) W. Its error is
lowered by steps of V along

    D = −(XᵀX)⁻¹ (Xᵀ Γ) (W Wᵀ ∘ E[m mᵀ])⁻¹      with Γ = (z − t) Wᵀ ∘ m and m = 1 where c is not flat, else 0,

the Gauss-Newton step with the curvature taken as a product over inputs and outputs (Martens and Grosse, "Optimizing
Neural Networks with Kronecker-factored Approximate Curvature", ICML 2015, arXiv:1503.05671), followed by a line
search. Where weights of V must stay zero, D is the best step by the same curvature that keeps them zero. Every few
steps W is solved for again; its zeros stay too. The check rows decide when to stop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.repair.behind_activation import Bounds, Target
from onnx_compress.compiler.repair.solve.kronecker import ITERATIONS, Kronecker
from onnx_compress.compiler.repair.solve.support import OnSupport

ROUNDS, SOLVED = 24, 4
"""Steps of the first layer, and after how many of them the second one is solved for again."""
LENGTHS = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Multiples of a step to try."""
RIDGE = 1e-3
"""Share of the mean diagonal that is added to each matrix before it is inverted."""
PATIENCE = 2
"""Rounds in a row without gain on the check rows, after which to stop."""
GAIN = 2e-3
"""Share of the error that counts as a gain."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Outputs of the second layer and all that they depend on, in float32.

    `inputs` [m, taps, K + 1] are rows of the first layer, each with a 1 appended; `is_outside` [m, taps] marks where
    the second layer reads padding instead; `target` is for outputs [m, M].
    """

    inputs: np.ndarray
    is_outside: np.ndarray
    target: Target


@dataclass(eq=False)
class Pair:
    """The two layers' weights with the shift as the last row: `first` [K + 1, C], `second` [taps · C + 1, M]."""

    first: np.ndarray
    second: np.ndarray
    between: Bounds
    fitted: list[Sample] = field(default_factory=list)
    checked: list[Sample] = field(default_factory=list)
    iterations: int = ITERATIONS
    """Most iterations of the solver in each step of a first layer with zeros."""
    free: tuple[np.ndarray, np.ndarray] = field(init=False)
    """Masks of the weights that may change, of both layers."""

    def __post_init__(self) -> None:
        """Zero weights stay zero; shifts may change."""
        self.free = self.first != 0, self.second != 0
        for weights in self.free:
            weights[-1] = True

    def refine(self) -> np.ndarray | None:
        """Weights [K + 1, C] of the first layer that bring the second nearer to its aim; None if none were found."""
        best, found, failed = _error(self.checked, self.first, self.second, self.between), None, 0
        inputs = _held(sum(np.float64(1) * (x := _flat(s)).T @ x for s in self.fitted))
        system = Kronecker(inputs, self.free[0], self.iterations)
        for done in range(ROUNDS):
            if not self._step(system):
                break
            if done % SOLVED == 0:
                self._solve_second()
            error = _error(self.checked, self.first, self.second, self.between)
            failed = 0 if error < (1 - GAIN) * best else failed + 1
            if error < best:
                best, found = error, self.first.copy()
            if failed == PATIENCE:
                break
        return found

    def _step(self, system: Kronecker) -> bool:
        """Take one step with the first layer; False if no length of it helps."""
        slope, together, count = np.zeros(self.first.shape), 0.0, 0
        hidden = [sample.inputs @ self.first for sample in self.fitted]
        for sample, values in zip(self.fitted, hidden):
            outputs = _outputs(sample, values, self.second, self.between)
            back = ((outputs - sample.target.aims(outputs)) @ self.second[:-1].T).reshape(values.shape)
            passes = (values > self.between.low) & (values < self.between.high) & ~sample.is_outside[..., None]
            mask = passes.reshape(-1, passes.shape[-1]).astype(np.float32)
            slope += _flat(sample).T @ (back.reshape(mask.shape) * mask)
            together, count = together + (mask.T @ mask).astype(np.float64), count + len(mask)
        weights = self.second[:-1].reshape(-1, self.first.shape[1], self.second.shape[1])
        outputs = _held(np.einsum("tcm,tdm->cd", weights, weights) * together / count)
        move = system.solve(-slope, outputs)
        moves = [sample.inputs @ move for sample in self.fitted]
        tried = {}
        for length in (0.0, *LENGTHS):
            at = [values + np.float32(length) * by for values, by in zip(hidden, moves)]
            tried[length] = sum(
                sample.target.error(_outputs(sample, values, self.second, self.between))
                for sample, values in zip(self.fitted, at)
            )
        length = min(tried, key=lambda each: tried[each])
        self.first = self.first + np.float32(length) * move
        return length > 0

    def _solve_second(self) -> None:
        """Set the second layer to the weights of least error for the present first layer."""
        gram: np.ndarray | float = 0.0
        rest: np.ndarray | float = 0.0
        for sample in self.fitted:
            seen = _seen(sample, sample.inputs @ self.first, self.between)
            outputs = seen @ self.second
            gram = gram + (seen.T @ seen).astype(np.float64)
            rest = rest + (seen.T @ (sample.target.aims(outputs) - outputs)).astype(np.float64)
        system = OnSupport.of(_held(np.asarray(gram)), self.free[1])
        self.second = self.second + system.solve(np.asarray(rest)).astype(np.float32)


def _flat(sample: Sample) -> np.ndarray:
    return sample.inputs.reshape(-1, sample.inputs.shape[-1])


def _seen(sample: Sample, hidden: np.ndarray, between: Bounds) -> np.ndarray:
    """The second layer's input rows [m, taps · C + 1] for outputs [m, taps, C] of the first."""
    values = between.clip(hidden)
    values[sample.is_outside] = 0
    flat = values.reshape(len(values), -1)
    return np.concatenate([flat, np.ones((len(flat), 1), flat.dtype)], axis=1)


def _outputs(sample: Sample, hidden: np.ndarray, second: np.ndarray, between: Bounds) -> np.ndarray:
    return np.asarray(_seen(sample, hidden, between) @ second)


def _error(samples: list[Sample], first: np.ndarray, second: np.ndarray, between: Bounds) -> float:
    return sum(s.target.error(_outputs(s, s.inputs @ first, second, between)) for s in samples)


def _held(matrix: np.ndarray) -> np.ndarray:
    level = RIDGE * max(float(np.trace(matrix)) / len(matrix), float(np.finfo(np.float64).tiny))
    return np.asarray(matrix + level * np.eye(len(matrix)))
