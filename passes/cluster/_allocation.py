"""How many bits each weight gets, so that all together take as many as with the same bits for each, and lose least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import ModelWeight
from onnx_compress.compiler.budget.allocate import Problem, allocate
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.metrics.divergence import Divergence
from onnx_compress.compiler.runtime.outputs import batch_size
from onnx_compress.compiler.runtime.session import create
from onnx_compress.passes.cluster._books import Books

MOST_BITS = 8
MEASURED = 128
"""Samples that the effect of each weight is measured on, at most."""


@dataclass(frozen=True, eq=False)
class PlannedBooks:
    """One weight, how it is cut, and the bits of its codebooks."""

    weight: ModelWeight
    books: Books
    bits: int

    @property
    def values(self) -> np.ndarray:
        """The weight as it is."""
        return self.weight.constant.values

    def nbytes(self, bits: int) -> int:
        """Bytes that so many bits take."""
        return self.books.nbytes(self.values.size, self.values.dtype.itemsize, bits)


def allocated(model: Model, plan: Sequence[PlannedBooks], ctx: Context) -> list[PlannedBooks]:
    """The plan with other bits.

    One weight after another is clustered with its bits alone, and how far that moves the model's outputs is measured.
    With more or fewer bits it is taken to grow like the squared error of the weights; effects are taken to add up.
    """
    data = ctx.data.take(MEASURED, ctx.seed)
    effect = Divergence(model, data, batch_size(create(model), data))
    losses = []
    with ctx.progress("bits", len(plan)) as advance:
        for one in plan:
            tried = [one.books.clustered(one.values, bits, ctx.rng) for bits in range(MOST_BITS, 0, -1)]
            errors = np.array([_error(one.weight, values) for values in tried])
            moved = _moved(model, one.weight, tried[MOST_BITS - one.bits], effect)
            present = errors[MOST_BITS - one.bits]
            losses.append(moved * errors / present if present > 0 else np.zeros_like(errors))
            advance()

    def cost(choices: np.ndarray) -> float:
        return float(sum(one.nbytes(MOST_BITS - int(choice)) for one, choice in zip(plan, choices)))

    choices = allocate(Problem(losses, cost, cost(np.array([MOST_BITS - one.bits for one in plan]))))
    if choices is None:
        return list(plan)
    return [replace(one, bits=MOST_BITS - int(choice)) for one, choice in zip(plan, choices)]


def _error(weight: ModelWeight, values: np.ndarray) -> float:
    return float(np.sum(np.square(weight.constant.values.astype(np.float64) - values)))


def _moved(model: Model, weight: ModelWeight, values: np.ndarray, effect: Divergence) -> float:
    """The effect of other values of one weight."""
    (reader, slot), candidate = weight.readers[0], model.clone()
    # A weight in a Constant node has no name of its own, but nodes keep their order.
    place = next(i for i, node in enumerate(model.nodes()) if node is reader)
    twin = next(node for i, node in enumerate(candidate.nodes()) if i == place)
    constant = input_constant(twin, slot)
    assert constant is not None
    edit.replace_values(candidate, constant, values)
    return effect.of(candidate)
