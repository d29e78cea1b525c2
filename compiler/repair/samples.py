"""What is cut out of a run for fitting: the part of an aim that a layer must give, and two layers' rows together."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from onnx_compress.compiler.repair.kronecker import ITERATIONS
from onnx_compress.compiler.repair.layers import Convolution, Layer, others, sampled
from onnx_compress.compiler.repair.plan import Step
from onnx_compress.compiler.repair.rectified import Target
from onnx_compress.compiler.repair.reference import Rows
from onnx_compress.compiler.repair.together import ROUNDS, SOLVED, Sample
from onnx_compress.compiler.runtime.outputs import Arrays

MOST_OUTPUTS, MOST_BYTES = 1 << 14, 1 << 28
"""Outputs of a second layer that two layers are fitted on, and bytes of the first one's rows under them."""
PER_NUMBER = 1000
"""What a round does to each number beside products, as the products that would take as long."""
CHECKED = 8
"""One output in so many is not fitted."""
SOLVER, LEAST_ITERATIONS = 8, 8
"""What solving for steps of a layer with zeros may take, in multiples of the rounds' products; fewer are no use."""


def rest_of(rows: Rows, step: Step, arrays: Arrays) -> np.ndarray:
    """What the free entries of a layer must give [rows, channels]: the aim without all that is added beside them."""
    assert isinstance(step.layer, Layer)
    rest = step.aim.channels(rows.values).astype(np.float64)
    for term in step.aim.beside:
        rest -= sampled(
            _spread_out(arrays[term.name], rows.outs, step.aim.axis, rest.shape[1]), step.aim.axis, rows.places
        )
    offset = step.layer.offset(arrays[step.layer.source.name], rows.places)
    return rest if offset is None else rest - offset


def _spread_out(term: np.ndarray, outs: tuple[int, ...], axis: int, channels: int) -> np.ndarray:
    """A term of a sum broadcast to the sum's shape; a batch that was filled up stays longer than `outs` says."""
    shape = list(outs)
    shape.insert(axis % (len(outs) + 1), channels)
    if term.ndim == len(shape):
        shape[0] = max(shape[0], term.shape[0])
    return np.broadcast_to(term, shape)


def joined(layer: Layer) -> np.ndarray:
    """Weights and, as the last row, the shift of a layer without groups: float32 [K + 1, M]."""
    return np.concatenate([layer.weights()[0], layer.shift()]).astype(np.float32)


def sample_size(layer: Layer, first: Layer, most: int) -> int:
    """How many outputs of `layer`, which reads what `first` gives, to take, so that all rounds take `most` products."""
    inputs = _taps(layer) * (first.weights().shape[1] + 1)
    width, results = first.weights().shape[2], layer.weights().shape[2]
    hidden = _taps(layer) * width
    each = ROUNDS * (2 * inputs * width + hidden**2 // SOLVED + PER_NUMBER * (hidden + results))
    return int(min(MOST_OUTPUTS, MOST_BYTES // (4 * inputs), most // each))


def iterations(first: Layer, most: int) -> int:
    """How many the solver for steps of `first` may take, so that all rounds take some multiple of `most` products.

    0: too few to be of use. Without zeros none are needed, and the number does not matter.
    """
    weights = first.weights()
    if (weights != 0).all():
        return ITERATIONS
    _, inputs, width = weights.shape
    found = min(ITERATIONS, SOLVER * most // (ROUNDS * inputs * width * (inputs + width)))
    return found if found >= LEAST_ITERATIONS else 0


def _taps(layer: Layer) -> int:
    return prod(layer.windows.kernel) if isinstance(layer, Convolution) else 1


def split(rows: Rows, size: int) -> Iterator[Rows]:
    """`size` positions of a batch evenly, in two parts: to fit, and to check on other samples."""
    some = np.unique(np.linspace(0, len(rows.places) - 1, min(size, len(rows.places))).astype(np.int64))
    # Positions are sorted, so that the last ones are other samples than the first.
    for part in np.split(some, [len(some) - len(some) // CHECKED]):
        yield Rows(rows.outs, rows.places[part], rows.values[part])


def sample(rows: Rows, step: Step, arrays: Arrays, layer: Layer, first: Layer) -> Sample:
    """Outputs of `layer` at some positions, with the rows of `first` that they hang on."""
    hidden = others(arrays[layer.source.name].shape, first.axis)
    if isinstance(layer, Convolution):
        positions, is_outside = layer.windows.positions(hidden, rows.places, rows.outs[1:])
    else:
        positions, is_outside = rows.places[:, None], np.zeros((len(rows.places), 1), bool)
    inputs = first.rows(arrays[first.source.name], positions.ravel(), hidden)[0]
    ones = np.ones((*positions.shape, inputs.shape[-1] + 1), np.float32)
    ones[..., :-1] = inputs.reshape(*positions.shape, -1)
    rest = rest_of(rows, step, arrays)
    target = Target.of(rest, step.aim.channels(rows.values) - rest, step.aim.bounds)
    return Sample(ones, is_outside, target)
