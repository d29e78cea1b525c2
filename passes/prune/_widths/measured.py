"""Choose widths by losses measured at the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.budget.allocate import Problem, allocate
from onnx_compress.compiler.budget.losses import CHECKED, LEAST_CHECKED
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.prune._criteria.obs import Ordering
from onnx_compress.passes.prune._gather.entries import Entries
from onnx_compress.passes.prune._widths.loss_tables import MOST_WIDTHS, Table, Wish, measured_at, tables
from onnx_compress.passes.prune._widths.widths import Choice, Macs, Widths, choose, reaching

MOST_MACS = 1 << 41
"""Limit for the multiply-accumulates of all measurements: about a minute."""
SEARCHED_SAMPLES = 64
"""Fewer samples in a search, whose trials measure the chosen widths anyway."""
ENOUGH_SAMPLES, LEAST_WIDTHS = 64, 4
"""Large models are measured at fewer widths of each group, and then on fewer samples."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The choice with calibration data: `scores` rank the sets of each part, unless `by` does (see `Wish`).

    The parts are the groups to narrow, followed by the layers that may gather their inputs.
    """

    model: Model
    entries: Entries
    scores: Sequence[np.ndarray]
    by: Ordering | None
    ctx: Context
    whole: int
    """Multiply-accumulates of the unchanged model."""

    def choose(self, widths: Widths, macs: Macs, target: float, step: int, scope: str) -> Choice:
        """For each part the order of removal and the number of sets to keep so that macs(kept) ≤ target, and the step.

        With scope 'global' the widths of least measured loss, assumed to add up over parts. If the target is
        out of reach, the narrowest.
        """
        step = reaching(widths, macs, target, step)
        every = [np.array([count]) for count in widths.full()]
        if scope == "global":
            every = [*widths.candidates(step), *self.entries.candidates(step)]
        samples, measured = _effort(every, self.whole)
        if self.ctx.finish is not None:
            samples = min(samples, SEARCHED_SAMPLES)
        wish = Wish(every, self.scores, self.by, samples, measured)
        found = tables(self.model, self.entries.among(self.ctx.get(ChannelGroups)), wish, self.ctx)
        orders = [table.order for table in found]
        if scope != "global":
            return Choice(orders, *choose(widths, macs, target, step, scope))
        return Choice(orders, *self._least_loss(found, macs, target, step))

    def _least_loss(
        self, found: Sequence[Table], macs: Macs, target: float, step: int
    ) -> tuple[np.ndarray, int, np.ndarray]:
        """The numbers of sets, chosen again until every Gather pays at the widths chosen with it; step; losses."""
        while True:
            kept, losses = _allocated(found, macs, target)
            refused = self.entries.refused(kept)
            if not refused:
                return kept, step, losses
            found = [_without(table, refused[i]) if i in refused else table for i, table in enumerate(found)]


def _allocated(found: Sequence[Table], macs: Macs, target: float) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of sets of least loss, and the loss of each part."""

    def kept(choices: np.ndarray) -> np.ndarray:
        return np.array([table.kept[c] for table, c in zip(found, choices)], np.int64)

    choices = allocate(Problem([table.losses for table in found], lambda chosen: macs(kept(chosen)), target))
    choices = np.array([len(table.kept) - 1 for table in found], np.int64) if choices is None else choices
    return kept(choices), np.array([table.losses[c] for table, c in zip(found, choices)])


def _without(table: Table, count: int) -> Table:
    """The table without the widths that save no more than `count`, except the full width."""
    stays = (table.kept < count) | (table.kept == table.kept[0])
    return replace(table, kept=table.kept[stays], losses=table.losses[stays])


def _effort(every: Sequence[np.ndarray], macs: int) -> tuple[int, int]:
    """The number of samples, and of widths of each group, for measuring a model of `macs` multiply-accumulates."""
    for widths in range(MOST_WIDTHS, LEAST_WIDTHS - 1, -1):
        runs = sum(len(measured_at(kept, widths)) - 1 for kept in every)
        samples = MOST_MACS // max(1, runs * macs)
        if samples >= ENOUGH_SAMPLES:
            break
    return min(CHECKED, max(LEAST_CHECKED, samples)), widths
