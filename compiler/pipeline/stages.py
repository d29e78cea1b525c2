"""A pipeline as it will run: the passes added in front and behind, and the checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.base import Effect
from onnx_compress.compiler.pipeline.recipe import Step
from onnx_compress.compiler.pipeline.settings import Settings


@dataclass(frozen=True)
class Stages:
    """The steps of a run.

    `first` is `simplify`, whose result is the original that repairs aim at; `last` is `encode`, before which equal
    weights are merged, and for which no strength is searched. None if left out.
    """

    first: Step | None
    steps: tuple[Step, ...]
    last: Step | None

    @classmethod
    def of(cls, steps: Sequence[Step], settings: Settings) -> Stages:
        """The stages of these steps; `simplify` and `encode` are added if missing, unless `raw`."""
        left = list(steps)
        first = left.pop(0) if left and left[0].item.name == "simplify" else None
        last = left.pop() if left and left[-1].item.name == "encode" else None
        if not settings.raw:
            first = first or Step(registry.find("simplify")())
            last = last or Step(registry.find("encode")())
        return cls(first, tuple(left), last)

    @property
    def whole(self) -> tuple[Step, ...]:
        """All steps in the order in which they run."""
        return tuple(step for step in (self.first, *self.steps, self.last) if step is not None)


def segments(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps, cut at the checkpoints where a run is judged.

    A run of lossy steps belongs to the repairing step that ends it, including exact steps between; without a
    repairing step each lossy step is judged by itself, together with a preceding step that only prepares it.
    """
    cut: list[list[Step]] = []
    pending: list[Step] = []
    for step in steps:
        if step.item.effect is Effect.EXACT and not pending:
            cut.append([step])
            continue
        pending.append(step)
        if step.item.repairs:
            cut.append(pending)
            pending = []
    return cut + _one_by_one(pending)


def _one_by_one(steps: Sequence[Step]) -> list[list[Step]]:
    """Each step alone; a preparing one together with everything up to the lossy step that it prepares."""
    cut: list[list[Step]] = []
    prepared: list[Step] = []
    for step in steps:
        prepared.append(step)
        if not step.item.prepares and (len(prepared) == 1 or step.item.effect is not Effect.EXACT):
            cut.append(prepared)
            prepared = []
    return [*cut, prepared] if prepared else cut


def with_companions(steps: Sequence[Step]) -> tuple[list[Step], list[int]]:
    """The steps plus those that a search for an open strength tries besides, and the indices of the added ones.

    They stand in front of the open step and take over its recipe's options for single layers, if they know them. A
    companion that the user named is not added.
    """
    named = {step.item.name for step in steps}
    found: list[Step] = []
    implied: list[int] = []
    for step in steps:
        for name in step.item.companions if step.item.is_open() else ():
            if name not in named:
                item = registry.find(name)()
                known = tuple(rule for rule in step.layers if set(rule.options) <= set(item.per_layer))
                implied.append(len(found))
                found.append(replace(step, item=item, layers=known))
        found.append(step)
    return found, implied
