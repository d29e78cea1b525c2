"""What each layer loses at each density: its own error after solving anew, weighed by what that does to the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from weakref import WeakKeyDictionary

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import to_text
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair.layers import LinearLayer
from onnx_compress.compiler.repair.moments import gram_bytes, input_sums, parts
from onnx_compress.compiler.repair.samples import sample_count
from onnx_compress.compiler.repair.solve.equations import Equations
from onnx_compress.compiler.repair.solve.threads import unshared_sums
from onnx_compress.compiler.runtime.data.source import Source
from onnx_compress.compiler.runtime.metrics.divergence import Divergence
from onnx_compress.compiler.runtime.outputs import batch_size
from onnx_compress.compiler.runtime.session import create
from onnx_compress.passes.sparsify._allocate import Curve
from onnx_compress.passes.sparsify._rounds import Method, descend, held
from onnx_compress.passes.sparsify._weights import WeightMatrix

STEP, LEAST = 0.65, 0.005
"""Each point of a curve has this share of the weights of the one before, down to the least density."""
PROBED = 0.1
"""The effect on the outputs is measured near this error of a layer, as a share of its output's spread."""
FITTED, CHECKED = 768, 256
"""Samples that sums are taken of, or more where they are small, and others that effects are measured on at most."""
LARGE = 1e30
"""In place of a loss that is no number."""
RUN_BYTES = 1 << 27
"""Bytes of activations that one run may give."""


@dataclass(frozen=True, eq=False)
class Part:
    """One weight: the `layer` to be solved for, None where it can't be, `density` where that is prescribed."""

    weight: WeightMatrix
    layer: LinearLayer | None
    method: Method
    density: float | None = None

    @property
    def size(self) -> int:
        """How many elements it has."""
        return int(self.weight.places.size)

    def counts(self) -> np.ndarray:
        """Numbers of weights left [points], the first those that are not zero now."""
        alive = int(np.count_nonzero(self.weight.constant.values))
        pattern = self.method.pattern
        if self.density is not None:
            return np.array([min(alive, int(self.density * self.size + 0.5))])
        if pattern.of:
            return np.array([alive, min(alive, self.size * pattern.keep // pattern.of)])
        steps = 1 + int(np.log(LEAST) / np.log(STEP))
        return np.unique([max(1, int(alive * STEP**k)) for k in range(steps)])[::-1]


def by_magnitude(part: Part) -> Curve:
    """What is lost, as a share of Σ w²."""
    weights, counts = part.weight.matrices(), part.counts()
    squares, alive = np.square(weights), weights != 0
    kept = [part.method.pattern.kept(squares, alive, part.method.channels, int(count)) for count in counts]
    losses = [1 - float(squares[mask].sum()) / (float(squares.sum()) or 1.0) for mask in kept]
    return _curve(part, counts, losses)


def _curve(part: Part, counts: np.ndarray, losses: Sequence[float]) -> Curve:
    finite = np.nan_to_num(np.asarray(losses), nan=LARGE, posinf=LARGE)
    return Curve(counts, np.maximum.accumulate(finite), not part.method.pattern.of)


_LATEST: WeakKeyDictionary[Source, tuple[str, list[Curve]]] = WeakKeyDictionary()


def measured(model: Model, found: Sequence[Part], sample: int, ctx: Context) -> list[Curve]:
    """The curves of all parts, in the effect on the model's outputs; `sample` bytes of values come of one sample.

    A layer's error e at each density is known from sums over its inputs alone; what it does to the outputs is
    measured once and taken to grow with e, as the divergence of outputs does with the square of a small disturbance.
    The latest result for each source of data is kept: a search for the strength asks for the same again and again.
    """
    key = _key(model, found, ctx)
    if _LATEST.get(ctx.data.source, ("", []))[0] != key:
        _LATEST[ctx.data.source] = key, _measured(model, found, sample, ctx)
    return _LATEST[ctx.data.source][1]


def _key(model: Model, found: Sequence[Part], ctx: Context) -> str:
    """What the curves hang on."""
    parts_of = [(part.weight.node.name, part.layer is None, part.method, part.density) for part in found]
    digest = sha256(repr((parts_of, ctx.seed)).encode())
    digest.update(np.ascontiguousarray(ctx.data.indices).tobytes())
    digest.update(to_text(model).encode())
    for constant in model.constants():
        digest.update(np.ascontiguousarray(constant.values).tobytes())
    return digest.hexdigest()


def _measured(model: Model, found: Sequence[Part], sample: int, ctx: Context) -> list[Curve]:
    rest, held = ctx.data.split(CHECKED / (FITTED + CHECKED))
    data, check = rest.take(sample_count(model, rest, FITTED)), held.take(CHECKED)
    batch = min(batch_size(create(model), data), max(1, RUN_BYTES // max(1, sample)))
    effect = Divergence(model, check, batch)
    taken = parts([0 if part.layer is None else gram_bytes([part.layer]) for part in found])
    runs = -(-len(data) // data.layout.run_size(batch))
    solutions = sum(len(part.counts()) for part in found if part.layer is not None)
    curves: list[Curve] = []
    with ctx.progress("losses", runs * len(taken) + len(found)) as advance, unshared_sums():
        for group in taken:
            layers = [layer for i in group if (layer := found[i].layer) is not None]
            sums = input_sums(model, layers, data, batch, ctx.rng, advance)
            for i in group:
                curves.append(_weighed(model, found[i], sums, effect, solutions))
                advance()
    return curves


def _weighed(model: Model, part: Part, sums: Mapping[Node, Equations], effect: Divergence, solutions: int) -> Curve:
    counts = part.counts()
    if part.density is not None:
        return Curve(counts, np.zeros(1))
    equations = None if part.layer is None else sums[part.layer.node]
    if part.layer is None or equations is None or not equations.is_finite:
        curve = by_magnitude(part)
        probed = _nearest(curve.losses)
        trial = _without(model, part, int(counts[probed]))
        return replace(curve, losses=curve.losses * _rate(effect, trial, float(curve.losses[probed])))
    layer, weights, shift = part.layer, part.layer.weights(), part.layer.shift()
    exact = equations.answering(weights, shift)
    states = [
        (weights, shift),
        *descend(exact, weights, shift, counts[1:].tolist(), part.method, held(layer, solutions)),
    ]
    errors = [exact.error(*state) / (exact.spread or 1.0) for state in states]
    probed = _nearest(np.array(errors))
    trial = model.clone()
    _twin(layer, model, trial).store(trial, *states[probed])
    rate = _rate(effect, trial, errors[probed])
    return _curve(part, counts, [0.0, *(rate * error for error in errors[1:])])


def _nearest(errors: np.ndarray) -> int:
    """The point whose error lies nearest to `PROBED`, on a logarithmic scale."""
    return int(np.argmin(np.abs(np.log(np.maximum(errors, 1e-12) / PROBED))))


def _rate(effect: Divergence, trial: Model, error: float) -> float:
    return effect.of(trial) / error if error > 0 else 0.0


def _without(model: Model, part: Part, count: int) -> Model:
    trial = model.clone()
    weights = part.weight.matrices()
    kept = part.method.pattern.kept(np.square(weights), weights != 0, part.method.channels, count)
    _weight_twin(part.weight, model, trial).clear(trial, kept)
    return trial


def _weight_twin(weight: WeightMatrix, model: Model, trial: Model) -> WeightMatrix:
    twins = dict(zip(model.nodes(), trial.nodes(), strict=True))
    return WeightMatrix(weight.shape, [(twins[node], slot) for node, slot in weight.readers])


def _twin(layer: LinearLayer, model: Model, trial: Model) -> LinearLayer:
    """The same layer of a copy of its model."""
    twins = dict(zip(model.nodes(), trial.nodes(), strict=True))
    bias = None if layer.bias is None else (twins[layer.bias[0]], layer.bias[1])
    return replace(layer, node=twins[layer.node], bias=bias)
