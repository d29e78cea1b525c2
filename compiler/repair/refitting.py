"""Refit: solve again for every layer that compression disturbed, front to back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from math import sqrt
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.behind_activation import Bounds, Rectified
from onnx_compress.compiler.repair.codebook_layer import Start, share
from onnx_compress.compiler.repair.effort import FULL, SOLVER_PRODUCTS, Effort
from onnx_compress.compiler.repair.fit import EXACT, Solution, Task, solve
from onnx_compress.compiler.repair.layer_pair import Pair
from onnx_compress.compiler.repair.layers import LinearLayer, sampled
from onnx_compress.compiler.repair.original_activations import Reference, Rows
from onnx_compress.compiler.repair.output_importance import importances
from onnx_compress.compiler.repair.plan import Choice, FitStep, Refusal, plan
from onnx_compress.compiler.repair.present_activations import Prefix
from onnx_compress.compiler.repair.samples import CHECKED, iterations, joined, rest_of, sample, sample_size, split
from onnx_compress.compiler.repair.solve.equations import Equations, Spread
from onnx_compress.compiler.repair.solve.threads import unshared_sums
from onnx_compress.compiler.repair.solve.vectors import VectorCut
from onnx_compress.compiler.repair.statistics import Moments, Normalization
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.outputs import Arrays

CHUNK_BYTES = 1 << 27
"""Bytes of rows in memory at once."""

Bars: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


@dataclass(frozen=True, eq=False)
class Sums:
    """The data of one layer: sums over rows to fit and over rows to check, the aim's spread, and bounded rows."""

    fit: Equations
    check: Equations
    spread: float
    rectified: Rectified | None

    @property
    def count(self) -> int:
        """The number of rows summed."""
        return self.fit.count + self.check.count

    def task(self, layer: LinearLayer, ridge: float | None) -> Task:
        """The task of solving for the present non-zero weights."""
        weights, support = layer.weights(), layer.weights() != 0
        return Task(
            weights,
            layer.shift(),
            layer.bias is not None,
            None if support.all() else support,
            layer.dtype,
            self.spread,
            ridge,
            self.rectified,
        )


Change: TypeAlias = Callable[[LinearLayer, Sums], tuple[np.ndarray, np.ndarray] | None]


@dataclass(frozen=True, eq=False)
class Sharing:
    """Layers that a pass has just given codebooks: the `dense` weights that each had before, by its node.

    `centroids` chooses the initial codebook from a node, its dense weights [n] and the importance [n] of each, which
    is the cost of its error at the layer's output; see `Start` for vectors.
    """

    dense: Mapping[Node, np.ndarray]
    centroids: Callable[[Node, np.ndarray, np.ndarray], np.ndarray]

    def start(self, layer: LinearLayer, importance: np.ndarray) -> Start:
        """The start of the solution for one of the layers."""
        centroids = partial(self.centroids, layer.node)
        return Start(layer.matrices(self.dense[layer.node]), centroids, importance, VectorCut.of(layer))


@dataclass(frozen=True)
class Fitted:
    """The result for one layer.

    `free` is what was solved for: weights, the values of a codebook, bias, statistics. `before` and `after` are the
    layer's errors as shares of its aim's spread. `reason` says why it is unchanged, and is empty if it changed or
    there was nothing to repair.
    """

    name: str
    free: str
    rows: int = 0
    unknowns: int = 0
    ridge: float = 0.0
    before: float = 0.0
    after: float = 0.0
    reason: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether the layer was changed."""
        return self.after < self.before


@dataclass(frozen=True)
class RefitReport:
    """The layers that differed from the original's, in the order in which they were fitted."""

    layers: tuple[Fitted, ...] = ()

    @property
    def changed(self) -> int:
        """The number of changed layers."""
        return sum(layer.is_changed for layer in self.layers)


def refit(
    model: Model,
    original: Model,
    data: Dataset,
    rng: np.random.Generator,
    *,
    is_found: bool = False,
    layers: Choice | None = None,
    ridge: float | None = None,
    effort: Effort = FULL,
    reference: Reference | None = None,
    progress: Bars | None = None,
    touched: Choice | None = None,
    change: Change | None = None,
    sharing: Sharing | None = None,
) -> RefitReport:
    """Solve for the weights of every layer of `model` that differs from `original`, in place.

    For each layer, front to back, min ‖X W + 1 b − Y‖² + λ ‖W − W₀‖²: X are its inputs in `model`, whose earlier
    layers are already repaired, Y its outputs in `original`. Zero weights stay zero. Where weights have a codebook,
    the solution consists of its values and of which weight takes which.

    Args:
        model: the compressed model; the origins of its values name their counterparts in the original.
        original: the model before compression.
        data: samples, of which only the inputs are used.
        rng: draws the sampled positions, unless there is a `reference`.
        is_found: `original` is `model` before the current pass: values correspond by their own names.
        layers: which nodes may change; None: all.
        ridge: λ as a share of the mean diagonal of XᵀX; None: the one that does best on the check rows.
        effort: the limits of the work; COARSE is enough to compare candidates.
        reference: activations of the original over the same data, kept from an earlier refit of another candidate.
        progress: shows progress: called with a label and the number of steps.
        touched: layers that `change` will change, so that they and the layers behind them are solved for.
        change: called for each layer before it is solved for, with the sums of its inputs and aim; returns the
            weights [groups, K, M] and shift [groups, M] to start from, whose zeros stay zero, or None.
        sharing: the dense weights of layers that have just got a codebook.
    """
    if reference is None:
        reference = Reference(original, data, int(rng.integers(1 << 62)), is_found=is_found)
    found = list(plan(model, reference, layers, effort, touched))
    steps = [step for step in found if isinstance(step, FitStep)]
    bar = nullcontext(_silent) if progress is None else progress("refit", len(steps) + 1)
    with bar as advance, unshared_sums():
        fitter = _Fitter(model, reference, ridge, change, sharing)
        if steps:
            fitter.prepare(steps)
            advance()
        return RefitReport(tuple(fitter.results(found, advance)))


@dataclass
class _Fitter:
    model: Model
    reference: Reference
    ridge: float | None
    change: Change | None
    sharing: Sharing | None
    prefix: Prefix = field(init=False)
    importances: Mapping[Node, np.ndarray] = field(default_factory=dict)
    """The importance of each layer's outputs."""
    products: int = 0
    """Multiplications allowed for the rounds behind one layer's bounds, or of one pair of layers."""

    def prepare(self, steps: list[FitStep]) -> None:
        """Run the original once for the aims of all steps."""
        wanted = {step.aim.name: step.wanted for step in steps}
        for step in steps:
            if not wanted[step.aim.name].covers(step.wanted):
                wanted[step.aim.name] = step.wanted
        self.reference.record(wanted)
        self.products = SOLVER_PRODUCTS // len(steps)
        self.importances = importances(
            self.model, [step.layer for step in steps if isinstance(step.layer, LinearLayer)]
        )
        goals = [(step.node, step.needs) for step in steps]
        self.prefix = Prefix(self.model, self.reference.data, self.reference.batch, goals)

    def results(self, found: Iterable[FitStep | Refusal], advance: Callable[[], None]) -> Iterator[Fitted]:
        """Treat one layer after another."""
        for item in found:
            yield self.refused(item) if isinstance(item, Refusal) else self.fit(item)
            if isinstance(item, FitStep):
                advance()

    def refused(self, item: Refusal) -> Fitted:
        return Fitted(item.node.layer_name(), "nothing", reason=item.reason)

    def fit(self, step: FitStep) -> Fitted:
        """Solve for one layer, then for it and the one before it together; write what is better."""
        if isinstance(step.layer, Normalization):
            return self.estimate(step, step.layer)
        alone = self.alone(step, step.layer, self.change)
        if step.first is None or alone.after <= EXACT:
            return alone
        both = step.layer, step.first[0]
        before = [(layer, layer.weights(), layer.shift()) for layer in both]
        if not self.refine_first(step, step.layer, *step.first):
            return alone
        together = self.alone(step, step.layer, None)
        if together.after < alone.after:
            return replace(together, before=alone.before)
        for layer, weights, shift in before:
            layer.store(self.model, weights, shift)
        return alone

    def refine_first(self, step: FitStep, layer: LinearLayer, first: LinearLayer, between: Bounds) -> bool:
        """Write better weights for the layer before `layer`, given the aim of `layer`; False if none were found."""
        steps = iterations(first, self.products)
        if not steps:
            return False
        pair = Pair(joined(first), joined(layer), between, iterations=steps)
        wanted = sample_size(layer, first, self.products)
        for arrays, rows in self.pairs(step):
            size = max(1, wanted * self.reference.batch // len(self.reference.data))
            for part, into in zip(split(rows, size), (pair.fitted, pair.checked)):
                if len(part.places):
                    into.append(sample(part, step, arrays, layer, first))
        found = pair.refine() if pair.fitted and pair.checked else None
        if found is not None:
            first.store(self.model, found[None, :-1].astype(np.float64), found[None, -1].astype(np.float64))
        return found is not None

    def alone(self, step: FitStep, layer: LinearLayer, change: Change | None) -> Fitted:
        """Apply `change` to one layer, solve for it, and write the solution if it is better."""
        sums = self.sums(step, layer)
        changed = None if change is None else change(layer, sums)
        if changed is not None:
            layer.store(self.model, changed[0], changed[1] if layer.bias is not None else None)
        task = sums.task(layer, self.ridge)
        solution = self.solution(layer, task, sums)
        if solution.weights is not None:
            layer.store(self.model, solution.weights, solution.shift if task.free_shift else None)
        return _fitted(step, solution, sums.count, task.weights.shape[1])

    def solution(self, layer: LinearLayer, task: Task, sums: Sums) -> Solution:
        """The best weights, with a codebook where the layer has one."""
        if not layer.is_tied:
            return solve(task, sums.fit, sums.check)
        is_new = self.sharing is not None and layer.node in self.sharing.dense
        start = self.sharing.start if self.sharing is not None and is_new else Start.present
        return share(task, start(layer, self.importances[layer.node]), sums.fit, sums.check)

    def sums(self, step: FitStep, layer: LinearLayer) -> Sums:
        """Sum over a layer's inputs and its aim."""
        shape = layer.weights().shape
        fit, check = Equations.zeros(*shape), Equations.zeros(*shape)
        spread = Spread(np.zeros(shape[0] * shape[2]))
        rectified = None if step.aim.bounds is None else Rectified(step.aim.bounds, self.products // 4)
        for arrays, rows in self.pairs(step):
            spread.add(step.aim.seen(rows.values))
            for part in _chunks(rows, shape[0] * (shape[1] + 1)):
                x = layer.rows(arrays[layer.source.name], part.places, part.outs)
                rest = rest_of(part, step, arrays)
                y = _grouped(rest, shape[0])
                held = len(part.places) // CHECKED
                # Positions are sorted: the last ones come from other samples than the first.
                last = len(part.places) - held
                if rectified is not None:
                    rectified.add(x, y, _grouped(step.aim.channels(part.values) - rest, shape[0]), held)
                fit.add(x[:, :last], y[:, :last])
                if held:
                    check.add(x[:, last:], y[:, last:])
        return Sums(fit, check, spread.total, rectified)

    def estimate(self, step: FitStep, norm: Normalization) -> Fitted:
        """Estimate the statistics of one normalization and write them if they are better."""
        moments = Moments.zeros(len(norm.statistics()[0]))
        for arrays, rows in self.pairs(step):
            moments.add(sampled(arrays[norm.source.name], 1, rows.places), step.aim.channels(rows.values))
        before, after = norm.errors(moments, *norm.statistics()), norm.errors(moments, *norm.estimated(moments))
        spread = norm.spread(moments) or 1.0
        report = Fitted(step.node.layer_name(), "statistics", moments.count, before=sqrt(before / spread))
        if sqrt(before / spread) <= EXACT:
            return replace(report, after=report.before)
        if not after < before:
            return replace(report, after=report.before, reason="statistics of the compressed model are no better")
        norm.store(self.model, *norm.estimated(moments))
        return replace(report, after=sqrt(after / spread))

    def pairs(self, step: FitStep) -> Iterator[tuple[Arrays, Rows]]:
        """For each batch, the values that a layer needs and the sampled rows of its aim."""
        needs = step.needs if step.first is None else (*step.needs, step.first[0].source)
        values = self.prefix.batches(step.node, tuple(dict.fromkeys(needs)), stay=step.first is not None)
        return zip(values, self.reference.rows(step.aim.name), strict=True)


def _chunks(rows: Rows, width: int) -> Iterator[Rows]:
    """The positions in parts, such that a part's rows of `width` numbers fit `CHUNK_BYTES`."""
    size = max(1, CHUNK_BYTES // (8 * width))
    for start in range(0, len(rows.places), size):
        part = slice(start, start + size)
        yield Rows(rows.outs, rows.places[part], rows.values[part])


def _grouped(values: np.ndarray, groups: int) -> np.ndarray:
    """Targets [rows, channels] as [groups, rows, M]."""
    return values.reshape(len(values), groups, -1).transpose(1, 0, 2)


def _fitted(step: FitStep, solution: Solution, rows: int, unknowns: int) -> Fitted:
    assert isinstance(step.layer, LinearLayer)
    return Fitted(
        name=step.node.layer_name(),
        free="values" if step.layer.is_tied else step.layer.free,
        rows=rows,
        unknowns=unknowns,
        ridge=solution.ridge,
        before=solution.before,
        after=solution.after,
        reason=solution.reason,
    )


def _silent(done: int = 1, note: str = "") -> None:
    """Show no progress."""
