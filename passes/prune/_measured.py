"""Widths chosen by what is measured at the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.budget.allocate import Problem, allocate
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.prune._tables import CHECKED, Wish, measured_at, tables
from onnx_compress.passes.prune._widths import Macs, Widths, choose, reaching

MOST_MACS, LEAST_SAMPLES = 1 << 43, 32
"""Multiply-accumulates that all measurements may take: some minutes. Large models are measured on fewer samples."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The choice with calibration data: `scores` by group order its sets, unless `second_order` does (see `tables`)."""

    model: Model
    groups: ChannelGroups
    scores: Sequence[np.ndarray]
    second_order: bool
    ctx: Context

    def choose(
        self, widths: Widths, macs: Macs, target: int, step: int, scope: str
    ) -> tuple[list[np.ndarray], np.ndarray, int]:
        """Orders in which the sets of each group go, how many to keep so that macs(kept) ≤ target, and the step.

        Globally, the widths of least measured loss, taken to add up over groups. Where the target is out of reach, the
        narrowest.
        """
        step = reaching(widths, macs, target, step)
        every = widths.candidates(step) if scope == "global" else [np.array([count]) for count in widths.full()]
        checked = _samples(sum(len(measured_at(kept)) - 1 for kept in every) * macs(widths.full()))
        wish = Wish(every, self.scores, self.second_order, checked)
        found = tables(self.model, self.groups, wish, self.ctx)
        orders = [table.order for table in found]
        if scope != "global":
            return orders, *choose(widths, macs, target, step, scope)

        def kept(choices: np.ndarray) -> np.ndarray:
            return np.array([table.kept[c] for table, c in zip(found, choices)], np.int64)

        losses = [table.losses for table in found]
        choices = allocate(Problem(losses, lambda chosen: macs(kept(chosen)), target))
        return orders, widths.narrowest(step) if choices is None else kept(choices), step


def _samples(macs: int) -> int:
    """On how many samples to measure, when one sample takes so many multiply-accumulates in all measurements."""
    return min(CHECKED, max(LEAST_SAMPLES, MOST_MACS // max(1, macs)))
