"""How many bits each weight gets, so that all together take as many as with the same bits for each, and lose least."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from onnx_compress.compiler.analysis.weights import Weight
from onnx_compress.compiler.budget.allocate import Problem, allocate
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.effect import Effect
from onnx_compress.compiler.runtime.outputs import batch_size
from onnx_compress.compiler.runtime.session import create

MOST_BITS = 8
MEASURED = 128
"""Samples that the effect of each weight is measured on, at most."""

Clustered = Callable[[Weight, int], np.ndarray]


def stored_bytes(count: int, itemsize: int, bits: int) -> int:
    """Bytes of `count` places and a codebook."""
    return count * bits // 8 + (itemsize << bits)


def allocated(model: Model, weights: Sequence[Weight], bits: int, clustered: Clustered, ctx: Context) -> list[int]:
    """The bits of each weight.

    One weight after another is `clustered` with `bits` alone, and how far that moves the model's outputs is measured.
    With more or fewer bits it is taken to grow like the squared error of the weights; effects are taken to add up.
    """
    data = ctx.data.take(MEASURED, ctx.seed)
    effect = Effect(model, data, batch_size(create(model), data))
    losses = []
    with ctx.progress("bits", len(weights)) as advance:
        for weight in weights:
            errors = np.array([_error(weight, clustered(weight, b)) for b in range(MOST_BITS, 0, -1)])
            moved = _moved(model, weight, clustered(weight, bits), effect)
            present = errors[MOST_BITS - bits]
            losses.append(moved * errors / present if present > 0 else np.zeros_like(errors))
            advance()
    shapes = [(w.constant.values.size, w.constant.dtype.itemsize) for w in weights]

    def cost(choices: np.ndarray) -> float:
        return float(sum(stored_bytes(*shape, MOST_BITS - int(choice)) for shape, choice in zip(shapes, choices)))

    choices = allocate(Problem(losses, cost, cost(np.full(len(weights), MOST_BITS - bits))))
    return [bits] * len(weights) if choices is None else [MOST_BITS - int(choice) for choice in choices]


def _error(weight: Weight, values: np.ndarray) -> float:
    return float(np.sum(np.square(weight.constant.values.astype(np.float64) - values)))


def _moved(model: Model, weight: Weight, values: np.ndarray, effect: Effect) -> float:
    """The effect of other values of one weight."""
    (reader, slot), candidate = weight.readers[0], model.clone()
    # A weight in a Constant node has no name of its own, but nodes keep their order.
    place = next(i for i, node in enumerate(model.nodes()) if node is reader)
    twin = next(node for i, node in enumerate(candidate.nodes()) if i == place)
    constant = input_constant(twin, slot)
    assert constant is not None
    edit.replace_values(candidate, constant, values)
    return effect.of(candidate)
