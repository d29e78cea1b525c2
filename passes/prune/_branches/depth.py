"""Choose the residual branches to remove: those of least loss at the outputs, measured with the rest repaired."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from math import inf, isfinite, prod

from onnx_compress.compiler.analysis.residuals import Residual
from onnx_compress.compiler.budget.losses import CHECKED, LEAST_CHECKED, Probe
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model, Twin
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import COARSE, Reference, refit
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.passes.prune._branches.branches import BranchMean, remove

FITTED = 256
"""Maximum number of samples on which a candidate's layers are solved."""
MOST_MACS = 1 << 43
"""Limit for the multiply-accumulates of all measurements; large models are measured on fewer samples."""
MOST_PRODUCTS = 1 << 35
"""Limit for the multiplications of one candidate's normal equations, some seconds; later layers stay unrepaired."""
MARGIN = 1.05
"""A measured alternative must be better by this factor to be preferred."""
FIRST = -1.0
"""The rate (loss per multiply-accumulate) of a branch that was never measured: first in the order."""


@dataclass(eq=False)
class Trials:
    """Sets of `blocks` removed from `model`, named by their indices: what remains, and the loss.

    `means` replace the branches, None: nothing; with `repaired` the changed layers are solved for.
    """

    model: Model
    blocks: Sequence[Residual]
    means: Sequence[BranchMean | None]
    macs: Mapping[Node, int]
    repaired: bool
    ctx: Context
    _left: dict[frozenset[int], int] = field(default_factory=dict)

    @cached_property
    def probe(self) -> Probe:
        """The outputs of the unchanged model, over samples on which no layer is solved."""
        count = len(self.blocks)
        most = MOST_MACS // max(1, self.total * count * (count + 1) // 2)
        return Probe.of(self.model, self._data[1].take(min(CHECKED, max(LEAST_CHECKED, most)), self.ctx.seed))

    @cached_property
    def reference(self) -> Reference:
        """The targets of the layers."""
        data = self._data[0].take(FITTED, self.ctx.seed)
        return Reference(self.ctx.original, data, int(self.ctx.rng.integers(1 << 62)))

    @cached_property
    def _data(self) -> tuple[Dataset, Dataset]:
        return self.ctx.data.split(CHECKED / (FITTED + CHECKED), self.ctx.seed)

    @cached_property
    def _losses(self) -> dict[tuple[frozenset[int], bool], float]:
        """Measured losses of the unchanged model, kept because a search for the strength asks for them again."""
        blocks = tuple((block.label, mean is None) for block, mean in zip(self.blocks, self.means))
        return self.ctx.remember(("branches", self.repaired, blocks), dict)

    @property
    def total(self) -> int:
        """Multiply-accumulates of the unchanged model."""
        return sum(self.macs.values())

    def take_out(self, twin: Twin | None, gone: Collection[int], *, plain: bool = False) -> None:
        """Remove these branches from the model, or from a copy of it.

        `plain`: with a repair, layers target their own outputs only; without one, only constants replace
        branches.
        """
        model = self.model if twin is None else twin.model
        for i in sorted(gone):
            mean = self.means[i]
            kept = None if plain and mean is not None and not mean.is_constant else mean
            block = self.blocks[i] if twin is None else twin.of(self.blocks[i])
            remove(model, block, kept, own_aim=plain and self.repaired)

    def left(self, gone: frozenset[int]) -> int:
        """Multiply-accumulates without these branches."""
        if gone not in self._left:
            twin = self.model.twin()
            nodes = {node: twin.of(node) for node in self.macs}
            self.take_out(twin, gone)
            kept = set(twin.model.graph.nodes)
            self._left[gone] = sum(macs for node, macs in self.macs.items() if nodes[node] in kept)
        return self._left[gone]

    def loss(self, gone: frozenset[int], *, plain: bool = False) -> float:
        """The loss at the outputs after removing these branches."""

        def edit(twin: Twin) -> None:
            self.take_out(twin, gone, plain=plain)
            if self.repaired:
                self._repair(twin.model)

        if (gone, plain) not in self._losses:
            self._losses[gone, plain] = self.probe.loss(edit)
        return self._losses[gone, plain]

    def is_plain(self, gone: frozenset[int]) -> bool:
        """Whether plain removal is better: fewer constants, or layers that target their own outputs."""
        if self.repaired:
            return MARGIN * self.loss(gone, plain=True) < self.loss(gone)
        means = [self.means[i] for i in gone]
        if all(mean is None or mean.is_constant for mean in means):
            return False
        return self.loss(gone, plain=True) <= MARGIN * self.loss(gone)

    def alone(self, i: int) -> float | None:
        """The loss after removing only this branch, if it was measured and is finite."""
        loss = self._losses.get((frozenset([i]), False), inf)
        return loss if isfinite(loss) else None

    def _repair(self, model: Model) -> None:
        """Solve for the changed layers, front to back, as far as the limit allows."""
        left = MOST_PRODUCTS

        def choice(node: Node) -> bool:
            nonlocal left
            products = _products(node)
            if products > left or self.ctx.is_excluded(node):
                return False
            left -= products
            return True

        data, rng = self.reference.data, self.ctx.rng
        refit(model, self.ctx.original, data, rng, layers=choice, effort=COARSE, reference=self.reference)


def _products(node: Node) -> int:
    """Approximate multiplications of a layer's normal equations."""
    for slot in (1, 0):
        weight = input_constant(node, slot)
        if weight is not None and len(weight.shape) > 1:
            unknowns = int(prod(weight.shape[1:])) if node.op.startswith("Conv") else int(max(weight.shape))
            return max(1 << 12, COARSE.rows * unknowns) * unknowns**2
    return 0


def choose(trials: Trials, target: int) -> frozenset[int]:
    """The branches to remove so that at most `target` multiply-accumulates remain; if none suffice, all that help.

    Greedy: the next branch is the one of least loss per saved multiply-accumulate, given those already removed. The
    loss of a branch mostly grows with what is removed, so only the cheapest are measured again. Of all measured
    sets that reach the target, the one of least loss is taken.
    """
    gone: frozenset[int] = frozenset()
    enough: list[tuple[float, int, list[int]]] = []
    waiting = [(FIRST, i, -1) for i in range(len(trials.blocks))]
    with trials.ctx.progress("branches", len(waiting)) as advance:
        while waiting and trials.left(gone) > target:
            rate, i, measured = heappop(waiting)
            if measured == len(gone):
                gone |= {i}
                continue
            saved = trials.left(gone) - trials.left(gone | {i})
            loss = trials.loss(gone | {i}) if saved > 0 else inf  # it may be part of a removed one
            if isfinite(loss):
                before = trials.loss(gone) if gone else 0.0
                heappush(waiting, ((loss - before) / saved, i, len(gone)))
                if trials.left(gone | {i}) <= target:
                    enough.append((loss, len(gone), sorted(gone | {i})))
            if rate == FIRST:
                advance()
    return _outermost(trials, frozenset(min(enough)[2]) if enough else gone)


def _outermost(trials: Trials, gone: frozenset[int]) -> frozenset[int]:
    """These branches without those that are part of another one of them."""
    for i in sorted(gone):
        if trials.left(gone - {i}) == trials.left(gone):
            gone -= {i}
    return gone
