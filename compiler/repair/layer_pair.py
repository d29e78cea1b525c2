"""Two layers with a Relu or Clip between them, fitted together for what the second one aims at.

Least squares, layer by layer, makes the first layer give what it gave. But when channels between the two are gone, the
ones that are left can take over some of their work: what counts is the second layer's output z = c(X V) W. Its error
is lowered by steps of V along

    D = −(XᵀX)⁻¹ (Xᵀ Γ) (W Wᵀ ∘ E[m mᵀ])⁻¹      with Γ = (z − t) Wᵀ ∘ m and m = 1 where c is not flat, else 0,

Gauss and Newton's step with the curvature taken as a product over inputs and outputs (Martens and Grosse, "Optimizing
Neural Networks with Kronecker-factored Approximate Curvature", ICML 2015, arXiv:1503.05671); how far is searched.
Where weights of V have to stay zero, D is the best step by the same curvature that leaves them so. Every few steps W is
solved for anew, its zeros staying too. Rows that are not fitted say when to stop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.repair.behind_activation import Bounds, Target
from onnx_compress.compiler.repair.solve.kronecker import ITERATIONS, Kronecker
from onnx_compress.compiler.repair.solve.support import OnSupport

ROUNDS, SOLVED = 24, 4
"""Steps of the first layer, and after how many the second one is solved for anew."""
LENGTHS = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Multiples of a step that are tried."""
RIDGE = 1e-3
"""Share of the mean diagonal that is added to each matrix before it is solved with."""
PATIENCE = 2
"""Rounds in a row without gain on rows that are not fitted, after which to stop."""
GAIN = 2e-3
"""Share of the error that counts as a gain."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Outputs of the second layer and all that they hang on, in float32.

    `inputs` [m, taps, K + 1] are rows of the first layer with a 1 behind each, `is_outside` [m, taps] says where the
    second layer sees padding instead; `target` is for outputs [m, M].
    """

    inputs: np.ndarray
    is_outside: np.ndarray
    target: Target


@dataclass(eq=False)
class Pair:
    """The two layers' weights: `first` [K + 1, C] with its shift as the last row, `second` [taps · C + 1, M]."""

    first: np.ndarray
    second: np.ndarray
    between: Bounds
    fitted: list[Sample] = field(default_factory=list)
    checked: list[Sample] = field(default_factory=list)
    iterations: int = ITERATIONS
    """Of the solver, in each step of a first layer with zeros."""
    free: tuple[np.ndarray, np.ndarray] = field(init=False)
    """Which weights of the two may change."""

    def __post_init__(self) -> None:
        """What is zero stays zero, but for shifts."""
        self.free = self.first != 0, self.second != 0
        for weights in self.free:
            weights[-1] = True

    def refine(self) -> np.ndarray | None:
        """First weights [K + 1, C] with which the second layer comes nearer to its aim; None where none are found."""
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
        """Move the first layer; False where no step helps."""
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
        """The second layer's weights of least error for the first one as it is."""
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
    """What the second layer reads [m, taps · C + 1], given what the first one gives [m, taps, C]."""
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
