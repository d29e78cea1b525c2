"""How strongly to compress when the user leaves it open: as far as the budget allows.

The strength is found with the rest of the pipeline applied, so that the fixed passes get their share of the
budget first: `prune,quantize` prunes only as far as the quantized model stays inside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Judge
from onnx_compress.compiler.pipeline.execute import Applied, Executor
from onnx_compress.compiler.pipeline.recipe import Step

MARGIN = 1.05
"""A result counts as slower only beyond this ratio of latencies."""


@dataclass(frozen=True)
class Found:
    """The result of a search: the step with its strength set, None when none is worth it, and why."""

    step: Step | None
    reason: str
    notes: dict[str, Any] = field(default_factory=dict)
    harmless: bool = False
    """No step because there is nothing to do, rather than because it would break the budget."""


@dataclass
class _Unlimited:
    """A judge that measures but allows everything, so that later passes give no ground during a search."""

    inner: Judge
    max_drop: float = math.inf

    def drop(self, model: Model) -> float:
        return self.inner.drop(model)

    def speed(self, models: Any, feeds: Any = None) -> Any:
        return self.inner.speed(models, feeds)

    def layer_times(self, forms: Any, advance: Callable[[], object]) -> Any:
        return self.inner.layer_times(forms, advance)

    def channel_step(self) -> int:
        return self.inner.channel_step()


def strongest(executor: Executor, model: Model, step: Step, rest: Sequence[Step], budget: float) -> Found:
    """The strongest setting of `step`'s open strength with which the whole pipeline stays within `budget` points.

    `rest` are the steps behind it; those with an open strength of their own are left out while searching.
    Returns no step when even the weakest costs too much, changes nothing, or makes the model slower.
    """
    search = _Search(executor, model, step, [later for later in rest if not later.item.is_open()])
    base = search.complete(model)
    base_drop = executor.judge.drop(base)
    tried = {"0": round(base_drop, 3)}
    if base_drop > budget:
        return Found(
            None, f"the other passes alone cost {base_drop:.2f} points of {budget:g}: nothing is left", {"tried": tried}
        )
    grid = step.item.strengths
    best = _bisect(grid, lambda strength: search.fits(strength, budget, tried))
    if best is None:
        cost = tried[f"{grid[0]:g}"]
        weakest = f"{step.item.strength}={grid[0]:g}"
        return Found(None, f"even {weakest} costs {cost:.2f} points of {budget:g}", {"tried": tried})
    assert search.best is not None
    if search.best.changed == 0:
        return Found(None, "it finds nothing to remove", {"tried": tried}, harmless=True)
    times = executor.judge.speed({"with": search.complete(search.best.model), "without": base})
    if times["with"] > MARGIN * times["without"]:
        slower = times["with"] / times["without"]
        return Found(None, f"it would make the model {slower:.2f}× slower", {"tried": tried})
    return Found(search.at(best), f"found within the budget of {budget:g} points", {"tried": tried})


@dataclass
class _Search:
    executor: Executor
    model: Model
    step: Step
    rest: list[Step]
    best: Applied | None = None
    """The strongest that fitted so far."""

    def at(self, strength: float) -> Step:
        assert self.step.item.strength is not None
        return replace(self.step, item=self.step.item.with_options(**{self.step.item.strength: strength}))

    def complete(self, model: Model) -> Model:
        judge = _Unlimited(self.executor.judge)
        for later in self.rest:
            model = self.executor.apply(model, later, judge=judge).model
        return model

    def fits(self, strength: float, budget: float, tried: dict[str, float]) -> bool:
        applied = self.executor.apply(self.model, self.at(strength))
        drop = self.executor.judge.drop(self.complete(applied.model))
        tried[f"{strength:g}"] = round(drop, 3)
        if drop <= budget:
            self.best = applied
        return drop <= budget


def _bisect(grid: Sequence[float], fits: Callable[[float], bool]) -> float | None:
    """The strongest of `grid` that fits, taking fitting as monotone; the weakest is tried last if at all."""
    low, high = -1, len(grid)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(grid[middle]):
            low = middle
        else:
            high = middle
    return grid[low] if low >= 0 else None
