"""Fitting a layer behind the Relu or Clip that follows it: only the clipped output counts.

Let c(z) = min(max(z, low), high) follow a layer, and t be its target. Where t lies between the bounds, z must reach it;
where t ≤ low, any z ≤ low is equally good. Minimizing Σ (c(z) − c(t))² with z = X W + b is not linear, but

    t' = t between the bounds,   min(z₀, low) where t ≤ low,   max(z₀, high) where t ≥ high

makes ‖X W + b − t'‖² an upper bound of it that touches it at z₀. So each round of least squares against the t' of the
present weights can only lower the error (majorize-minimize). XᵀX stays the same; only XᵀT is summed again.

Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", PAMI 2016
(arXiv:1505.06798), also fit layers behind the nonlinearity, by relaxing it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node, Variable
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.repair.refittable_layers import View
from onnx_compress.compiler.repair.solve.equations import Solver

ROUNDS, LEAST_ROUNDS = 16, 2
"""Most rounds of least squares, and the number for layers whose rounds are slow."""
PER_NUMBER = 500
"""Cost of a round's element-wise work per number, in products that take the same time."""
LENGTHS = (1.0, 2.0, 4.0)
"""Multiples of a round's step to try: the bound is loose, so single steps are short."""
LEAST_ACTIVITY = 1e-3
"""Least share of the rows in which an output is taken to count."""
ENOUGH = 3e-3
"""Share of the error that a round must remove for another one to follow."""


@dataclass(frozen=True)
class Bounds:
    """The function behind a layer: flat below `low` and above `high`, the identity in between."""

    low: float
    high: float

    @property
    def both(self) -> tuple[float, float]:
        """Low and high."""
        return self.low, self.high

    def clip(self, values: np.ndarray) -> np.ndarray:
        """Apply the function."""
        return np.asarray(np.clip(values, self.low, self.high))


def bounds_behind(value: Variable, view: View) -> Bounds | None:
    """The bounds that all readers of `value` share; None where they differ or a reader sees more."""
    readers = [node for node, _ in edit.uses(view.model, value)]
    found = {_bounds_of(node) for node in readers}
    return None if len(found) != 1 or edit.is_output(view.model, value) else found.pop()


def _bounds_of(node: Node) -> Bounds | None:
    if node.is_op("Relu"):
        return Bounds(0.0, np.inf)
    if not node.is_op("Clip"):
        return None
    if "min" in node.attrs or "max" in node.attrs:  # before opset 11
        return Bounds(float(node.attrs.get("min", -np.inf)), float(node.attrs.get("max", np.inf)))
    given = [input_value(node, slot) if _has(node, slot) else None for slot in (1, 2)]
    if any(_has(node, slot) and value is None for slot, value in zip((1, 2), given)):
        return None
    low, high = given
    return Bounds(-np.inf if low is None else float(low), np.inf if high is None else float(high))


def _has(node: Node, slot: int) -> bool:
    return slot < len(node.inputs) and bool(node.inputs[slot].name)


@dataclass(frozen=True, eq=False)
class Target:
    """The outputs to reach behind bounds: `values` clipped to `low` and `high`, numbers or arrays of their shape."""

    values: np.ndarray
    low: np.ndarray | np.float32 | float
    high: np.ndarray | np.float32 | float

    @classmethod
    def of(cls, values: np.ndarray, addend: np.ndarray, bounds: Bounds | None) -> Target:
        """Values to reach before `addend` is added in front of the bounds; without bounds nothing is clipped."""
        if bounds is None:
            return cls(values.astype(np.float32), -np.inf, np.inf)
        offset = addend.astype(np.float32) if addend.any() else np.float32(0)
        low, high = (np.float32(bound) - offset if np.isfinite(bound) else bound for bound in bounds.both)
        return cls(values.astype(np.float32), low, high)

    def error(self, outputs: np.ndarray) -> float:
        """Σ (c(z) − c(t))²."""
        missed = np.clip(outputs, self.low, self.high) - np.clip(self.values, self.low, self.high)
        return float(np.square(missed, out=missed).sum(dtype=np.float64))

    def is_seen(self) -> np.ndarray:
        """Where a small error would be visible: strictly between the bounds."""
        return np.asarray((self.values > self.low) & (self.values < self.high))

    def aims(self, outputs: np.ndarray) -> np.ndarray:
        """The t' of these outputs, for which least squares is an upper bound of the error."""
        below = np.where(self.values <= self.low, np.minimum(outputs, self.low), self.values)
        return np.where(self.values >= self.high, np.maximum(outputs, self.high), below)


@dataclass(eq=False)
class Rectified:
    """Stored rows to fit a layer behind its bounds: rows to fit on (`fitted`) and rows to check on (`checked`).

    All rounds together may take `products` multiplications.
    """

    bounds: Bounds
    products: int
    fitted: list[_Part] = field(default_factory=list)
    checked: list[_Part] = field(default_factory=list)

    def add(self, rows: np.ndarray, targets: np.ndarray, addend: np.ndarray, held: int = 0) -> None:
        """Add rows [groups, m, K], their targets and what is added to them before the bounds, both [groups, m, M].

        The last `held` rows are only checked.
        """
        last = rows.shape[1] - held
        for part, into in ((slice(last), self.fitted), (slice(last, None), self.checked)):
            if part == slice(last) or held:
                target = Target.of(targets[:, part], addend[:, part], self.bounds)
                into.append(_Part(rows[:, part].astype(np.float32), target))

    @property
    def count(self) -> int:
        """The number of rows."""
        return sum(part.rows.shape[1] for part in (*self.fitted, *self.checked))

    def activity(self) -> np.ndarray:
        """The share of the fitted rows in which each output [groups, M] is seen, at least `LEAST_ACTIVITY`."""
        seen = np.concatenate([part.target.is_seen() for part in self.fitted], axis=1)
        return np.asarray(np.maximum(seen.mean(axis=1), LEAST_ACTIVITY))

    def error(self, weights: np.ndarray, shift: np.ndarray) -> float:
        """Σ (c(x·weights + shift) − c(t))² over all rows."""
        return _error(self.fitted, weights, shift) + _error(self.checked, weights, shift)

    def held_error(self, weights: np.ndarray, shift: np.ndarray) -> float:
        """The same over the check rows; over the fitted rows where there are none."""
        return _error(self.checked or self.fitted, weights, shift)

    def aimed(self, weights: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ xᵀt' [groups, K, M] and Σ t' [groups, M] over the fitted rows, with the t' of these weights."""
        return self._against([part.target.aims(part.outputs(weights, shift)) for part in self.fitted])

    def refine(self, solver: Solver, weights: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Weights [groups, K, M] and shift [groups, M] that do better on the check rows; None where none do.

        `solver` is the solver of the fitted rows.
        """
        judges = self.checked or self.fitted
        outputs = [part.outputs(weights, shift) for part in self.fitted]
        error, least, best = _total(self.fitted, outputs), _error(judges, weights, shift), None
        for _ in range(self.rounds(weights)):
            aims = [part.target.aims(values) for part, values in zip(self.fitted, outputs)]
            better = solver.solve(*self._against(aims))
            step = better[0] - weights, better[1] - shift
            moves = [part.outputs(*step) for part in self.fitted]
            reached, length = min((_total(self.fitted, _moved(outputs, moves, a)), a) for a in LENGTHS)
            if not reached < error:
                break
            weights, shift = weights + length * step[0], shift + length * step[1]
            outputs, gained, error = _moved(outputs, moves, length), 1 - reached / error, reached
            found = _error(judges, weights, shift)
            if found >= least:
                break
            least, best = found, (weights, shift)
            if gained < ENOUGH:
                break
        return best

    def rounds(self, weights: np.ndarray) -> int:
        """How many rounds `products` allows for weights of this shape."""
        groups, unknowns, width = weights.shape
        each = groups * width * (2 * unknowns + PER_NUMBER) * sum(part.rows.shape[1] for part in self.fitted)
        return int(min(ROUNDS, max(LEAST_ROUNDS, self.products // max(1, each))))

    def _against(self, aims: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Σ xᵀt' [groups, K, M] and Σ t' [groups, M]."""
        groups, _, unknowns = self.fitted[0].rows.shape
        cross, totals = np.zeros((groups, unknowns, aims[0].shape[2])), np.zeros((groups, aims[0].shape[2]))
        for part, aim in zip(self.fitted, aims):
            cross += part.rows.transpose(0, 2, 1) @ aim
            totals += aim.sum(axis=1, dtype=np.float64)
        return cross, totals


@dataclass(frozen=True, eq=False)
class _Part:
    rows: np.ndarray
    target: Target

    def outputs(self, weights: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return np.asarray(self.rows @ weights.astype(np.float32) + shift[:, None].astype(np.float32))


def _error(parts: list[_Part], weights: np.ndarray, shift: np.ndarray) -> float:
    return _total(parts, [part.outputs(weights, shift) for part in parts])


def _total(parts: list[_Part], outputs: list[np.ndarray]) -> float:
    return sum(part.target.error(values) for part, values in zip(parts, outputs))


def _moved(outputs: list[np.ndarray], moves: list[np.ndarray], length: float) -> list[np.ndarray]:
    return [values + np.float32(length) * move for values, move in zip(outputs, moves)]
