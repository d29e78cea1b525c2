"""Layers behind which small values are cut off: what counts is the output after the Relu or Clip.

Let c(z) = min(max(z, low), high) be what follows a layer, t its target. Where t lies between the bounds, z must reach
it; where t ≤ low, any z ≤ low is as good. Minimizing Σ (c(z) − c(t))² with z = X W + b is not linear, but

    t' = t between the bounds,   min(z₀, low) where t ≤ low,   max(z₀, high) where t ≥ high

makes ‖X W + b − t'‖² an upper bound of it that touches it at z₀. So each round of least squares against the t' of the
present weights can only lower the error (majorize-minimize); XᵀX stays the same, only XᵀT is summed anew.

Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", PAMI 2016
(arXiv:1505.06798), fit their layers behind the nonlinearity too, by relaxing it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node, Variable
from onnx_compress.compiler.ir.weights import input_value
from onnx_compress.compiler.repair.equations import Solver
from onnx_compress.compiler.repair.recognize import View

ROUNDS = 16
"""Rounds of least squares at most."""
LENGTHS = (1.0, 2.0, 4.0)
"""Multiples of a round's step that are tried: the bound is loose, so that single steps are short."""
ENOUGH = 3e-3
"""Share of the error that a round must take away for another one to follow."""


@dataclass(frozen=True)
class Bounds:
    """What follows a layer is flat below `low` and above `high`, and passes on what lies between."""

    low: float
    high: float

    @property
    def both(self) -> tuple[float, float]:
        """Low and high."""
        return self.low, self.high

    def clip(self, values: np.ndarray) -> np.ndarray:
        """What is passed on."""
        return np.asarray(np.clip(values, self.low, self.high))


def bounds_behind(value: Variable, view: View) -> Bounds | None:
    """The bounds that all readers of `value` agree on, or None where something sees more of it."""
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


@dataclass(eq=False)
class Rectified:
    """Rows that are kept, to fit a layer behind its bounds: parts [groups, m, K], with targets and bounds of each."""

    bounds: Bounds
    parts: list[_Part] = field(default_factory=list)

    def add(self, rows: np.ndarray, targets: np.ndarray, beside: np.ndarray) -> None:
        """Take in rows [groups, m, K], what they aim at and what is added before the bounds, both [groups, m, M]."""
        offset = beside.astype(np.float32) if beside.any() else np.float32(0)
        low, high = (np.float32(bound) - offset if np.isfinite(bound) else bound for bound in self.bounds.both)
        self.parts.append(_Part(rows.astype(np.float32), targets.astype(np.float32), low, high))

    def error(self, weights: np.ndarray, shift: np.ndarray) -> float:
        """Σ (c(x·weights + shift) − c(t))²."""
        return self._error([part.outputs(weights, shift) for part in self.parts])

    def aimed(self, weights: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ xᵀt' [groups, K, M] and Σ t' [groups, M] of the targets that are an upper bound at these weights."""
        return self._against([part.aims(part.outputs(weights, shift)) for part in self.parts])

    def refine(self, solver: Solver, weights: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Better weights [groups, K, M] and shift [groups, M] than those given, if there are any."""
        outputs = [part.outputs(weights, shift) for part in self.parts]
        error = self._error(outputs)
        for _ in range(ROUNDS):
            aims = [part.aims(values) for part, values in zip(self.parts, outputs)]
            better = solver.solve(*self._against(aims))
            step = better[0] - weights, better[1] - shift
            moves = [part.outputs(*step) for part in self.parts]
            reached, length = min((self._error(_moved(outputs, moves, length)), length) for length in LENGTHS)
            if not reached < error:
                break
            weights, shift = weights + length * step[0], shift + length * step[1]
            if reached > (1 - ENOUGH) * error:
                break
            outputs, error = _moved(outputs, moves, length), reached
        return weights, shift

    def _error(self, outputs: list[np.ndarray]) -> float:
        return sum(part.error(values) for part, values in zip(self.parts, outputs))

    def _against(self, aims: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Σ xᵀt' [groups, K, M] and Σ t' [groups, M]."""
        pairs = list(zip(self.parts, aims))
        cross = np.sum([(part.rows.transpose(0, 2, 1) @ aim).astype(np.float64) for part, aim in pairs], axis=0)
        return cross, np.sum([aim.sum(axis=1, dtype=np.float64) for _, aim in pairs], axis=0)


@dataclass(frozen=True, eq=False)
class _Part:
    rows: np.ndarray
    targets: np.ndarray
    low: np.ndarray | np.float32 | float
    high: np.ndarray | np.float32 | float

    def outputs(self, weights: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return np.asarray(self.rows @ weights.astype(np.float32) + shift[:, None].astype(np.float32))

    def error(self, outputs: np.ndarray) -> float:
        missed = np.clip(outputs, self.low, self.high) - np.clip(self.targets, self.low, self.high)
        return float(np.square(missed, out=missed).sum(dtype=np.float64))

    def aims(self, outputs: np.ndarray) -> np.ndarray:
        """The t' that make least squares an upper bound at these outputs."""
        below = np.where(self.targets <= self.low, np.minimum(outputs, self.low), self.targets)
        return np.where(self.targets >= self.high, np.maximum(outputs, self.high), below)


def _moved(outputs: list[np.ndarray], moves: list[np.ndarray], length: float) -> list[np.ndarray]:
    return [values + np.float32(length) * move for values, move in zip(outputs, moves)]
