"""The loss of each layer at each density: its own error after re-solving, weighted by its effect on the outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.budget.curves import Curve
from onnx_compress.compiler.budget.losses import CHECKED, FITTED, Edit, Probe, measure, parted, proportional
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import sample_count
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.moments import gram_bytes, input_sums, parts
from onnx_compress.compiler.repair.solve.equations import Equations
from onnx_compress.compiler.repair.solve.threads import unshared_sums
from onnx_compress.passes.sparsify._rounds import Method, descend, held
from onnx_compress.passes.sparsify._weights import WeightMatrix

STEP, LEAST = 0.65, 0.005
"""Each point of a curve has this share of the weights of the point before, down to the least density."""
PROBED = 0.1
"""The effect on the outputs is measured near this error of a layer, as a share of its output's spread."""
LARGE = 1e30
"""Replaces a loss that is NaN or infinite."""


@dataclass(frozen=True, eq=False)
class Part:
    """One weight: the `layer` to be solved for, None if impossible, and a prescribed `density` or None."""

    weight: WeightMatrix
    layer: LinearLayer | None
    method: Method
    density: float | None = None

    @property
    def size(self) -> int:
        """The number of its elements."""
        return int(self.weight.places.size)

    @property
    def key(self) -> tuple[object, ...]:
        """All that its curve depends on besides the model."""
        method = self.method
        return self.weight.node.label(), self.layer is None, method.criterion, method.pattern, self.density

    def counts(self) -> np.ndarray:
        """The remaining numbers of weights [points], the first being the present non-zeros."""
        alive = int(np.count_nonzero(self.weight.constant.values))
        pattern = self.method.pattern
        if self.density is not None:
            return np.array([min(alive, int(self.density * self.size + 0.5))])
        if pattern.of:
            return np.array([alive, min(alive, self.size * pattern.keep // pattern.of)])
        steps = 1 + int(np.log(LEAST) / np.log(STEP))
        return np.unique([max(1, int(alive * STEP**k)) for k in range(steps)])[::-1]


def by_magnitude(part: Part) -> Curve:
    """The loss as a share of Σ w²."""
    weights, counts = part.weight.matrices(), part.counts()
    squares, alive = np.square(weights), weights != 0
    kept = [part.method.pattern.kept(squares, alive, part.method.channels, int(count)) for count in counts]
    losses = [1 - float(squares[mask].sum()) / (float(squares.sum()) or 1.0) for mask in kept]
    return _curve(part, counts, losses)


def _curve(part: Part, counts: np.ndarray, losses: Sequence[float]) -> Curve:
    finite = np.nan_to_num(np.asarray(losses), nan=LARGE, posinf=LARGE)
    return Curve(counts, np.maximum.accumulate(finite), not part.method.pattern.of)


def measured(model: Model, found: Sequence[Part], sample: int, ctx: Context) -> list[Curve]:
    """The curves of all parts, in the effect on the model's outputs; `sample` is the bytes of activations per sample.

    A layer's error at each density is known from sums over its inputs alone; its effect on the outputs is measured
    once and assumed to grow with the error (see `proportional`).
    """
    key = "curves", tuple(part.key for part in found), sample
    return ctx.remember(key, lambda: _measured(model, found, sample, ctx))


def _measured(model: Model, found: Sequence[Part], sample: int, ctx: Context) -> list[Curve]:
    rest, held_out = parted(ctx.data, ctx.seed)
    data = rest.take(sample_count(model, rest, FITTED), ctx.seed)
    probe = Probe.of(model, held_out.take(CHECKED, ctx.seed), sample)
    memory = parts([0 if part.layer is None else gram_bytes([part.layer]) for part in found])
    runs = -(-len(data) // data.layout.run_size(probe.batch))
    solutions = sum(len(part.counts()) for part in found if part.layer is not None)
    curves: list[Curve] = []
    with ctx.progress("losses", runs * len(memory) + len(found)) as advance, unshared_sums():
        for group in memory:
            layers = [layer for i in group if (layer := found[i].layer) is not None]
            sums = input_sums(model, layers, data, probe.batch, ctx.rng, advance)
            tried = [_tried(found[i], sums, solutions) for i in group]
            losses = measure(probe, tried, advance)
            curves += [_curve(found[i], found[i].counts(), list(loss)) for i, loss in zip(group, losses)]
    return curves


@dataclass(frozen=True, eq=False)
class _Tried:
    """A part with one density tried by `edit`; `errors` [points] are those of its layer or weight alone."""

    errors: np.ndarray
    probed: int
    edit: Edit | None

    def edits(self) -> Iterator[Edit | None]:
        yield self.edit

    def losses(self, measured: list[float]) -> np.ndarray:
        # A re-solved layer has an error even with all its weights; that is not a loss.
        return np.append(0.0, proportional(self.errors, self.probed, measured[0])[1:])


def _tried(part: Part, sums: Mapping[Node, Equations], solutions: int) -> _Tried:
    if part.density is not None:
        return _Tried(np.zeros(1), 0, None)
    equations = None if part.layer is None else sums[part.layer.node]
    if part.layer is None or equations is None or not equations.is_finite:
        return _cleared(part)
    layer, weights, shift = part.layer, part.layer.weights(), part.layer.shift()
    exact = equations.answering(weights, shift)
    states = [
        (weights, shift),
        *descend(exact, weights, shift, part.counts()[1:].tolist(), part.method, held(layer, solutions)),
    ]
    errors = np.array([exact.error(*state) / (exact.spread or 1.0) for state in states])
    probed = _nearest(errors)
    return _Tried(errors, probed, _stored(layer, *states[probed]))


def _stored(layer: LinearLayer, weights: np.ndarray, shift: np.ndarray) -> Edit:
    return lambda twin: twin.of(layer).store(twin.model, weights, shift)


def _cleared(part: Part) -> _Tried:
    """A weight that can't be solved for: its smallest elements are cleared."""
    curve = by_magnitude(part)
    probed = _nearest(curve.losses)
    weights = part.weight.matrices()
    kept = part.method.pattern.kept(np.square(weights), weights != 0, part.method.channels, int(curve.counts[probed]))
    return _Tried(curve.losses, probed, lambda twin: twin.of(part.weight).clear(twin.model, kept))


def _nearest(errors: np.ndarray) -> int:
    """The point whose error is nearest to `PROBED` on a logarithmic scale."""
    return int(np.argmin(np.abs(np.log(np.maximum(errors, 1e-12) / PROBED))))
