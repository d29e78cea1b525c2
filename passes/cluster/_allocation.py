"""Distribute bits among the weights: as many bytes as with equal bits for each, at the least loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import ModelWeight
from onnx_compress.compiler.budget.allocate import Problem, allocate
from onnx_compress.compiler.budget.losses import Edit, Probe, measure, proportional
from onnx_compress.compiler.ir.edit import replace_values
from onnx_compress.compiler.ir.model import Model, Twin
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.cluster._books import Books

MOST_BITS = 8
MEASURED = 128
"""Maximum number of samples on which the effect of each weight is measured."""


@dataclass(frozen=True, eq=False)
class PlannedBooks:
    """One weight, how it is cut, and the bits of its codebooks."""

    weight: ModelWeight
    books: Books
    bits: int

    @property
    def values(self) -> np.ndarray:
        """The present weight."""
        return self.weight.constant.values

    def nbytes(self, bits: int) -> int:
        """Bytes of the weight with this number of bits."""
        return self.books.nbytes(self.values.size, self.values.dtype.itemsize, bits)


def allocated(model: Model, plan: Sequence[PlannedBooks], ctx: Context) -> list[PlannedBooks]:
    """The plan with other bits.

    One weight after another is clustered alone with its bits, and the change of the model's outputs is measured.
    With more or fewer bits the loss is assumed to grow like the squared error of the weights; losses are assumed to
    add up.
    """
    key = "bits", tuple((one.weight.constant.name, one.bits, one.books) for one in plan)
    losses = ctx.remember(key, lambda: _losses(model, plan, ctx))

    def cost(choices: np.ndarray) -> float:
        return float(sum(one.nbytes(MOST_BITS - int(choice)) for one, choice in zip(plan, choices)))

    choices = allocate(Problem(losses, cost, cost(np.array([MOST_BITS - one.bits for one in plan]))))
    if choices is None:
        return list(plan)
    return [replace(one, bits=MOST_BITS - int(choice)) for one, choice in zip(plan, choices)]


def _losses(model: Model, plan: Sequence[PlannedBooks], ctx: Context) -> list[np.ndarray]:
    """The loss of each weight with each number of bits, the most bits first."""
    probe = Probe.of(model, ctx.data.take(MEASURED, ctx.seed))
    with ctx.progress("bits", len(plan)) as advance:
        return list(measure(probe, (_tried(one, ctx) for one in plan), advance))


@dataclass(frozen=True, eq=False)
class _Tried:
    """A weight clustered with its bits; `errors` are its squared errors with each number of bits, most bits first."""

    errors: np.ndarray
    bits: int
    edit: Edit

    def edits(self) -> Iterator[Edit | None]:
        yield self.edit

    def losses(self, measured: list[float]) -> np.ndarray:
        return proportional(self.errors, MOST_BITS - self.bits, measured[0])


def _tried(one: PlannedBooks, ctx: Context) -> _Tried:
    tried = [one.books.clustered(one.values, bits, ctx.rng) for bits in range(MOST_BITS, 0, -1)]
    errors = np.array([_error(one.weight, values) for values in tried])
    (reader, slot), values = one.weight.readers[0], tried[MOST_BITS - one.bits]

    def edit(twin: Twin) -> None:
        constant = input_constant(twin.of(reader), slot)
        assert constant is not None
        replace_values(twin.model, constant, values)

    return _Tried(errors, one.bits, edit)


def _error(weight: ModelWeight, values: np.ndarray) -> float:
    return float(np.sum(np.square(weight.constant.values.astype(np.float64) - values)))
