"""How many samples to fit with, and what to take from a run of them: a layer's part of its aim, two layers' rows."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from onnx_compress.compiler.ir.graph import Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.behind_activation import Target
from onnx_compress.compiler.repair.effort import REFIT_SAMPLES, Effort
from onnx_compress.compiler.repair.layer_pair import ROUNDS, SOLVED, Sample
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, others, sampled
from onnx_compress.compiler.repair.original_activations import Rows
from onnx_compress.compiler.repair.plan import FitStep
from onnx_compress.compiler.repair.present_activations import static_values
from onnx_compress.compiler.repair.solve.kronecker import ITERATIONS
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.outputs import Arrays

MOST_OUTPUTS, MOST_BYTES = 1 << 14, 1 << 28
"""Most outputs of the second layer that a pair is fitted on, and most bytes of the first layer's rows for them."""
PER_NUMBER = 1000
"""Cost of a round's element-wise work per number, in products that take the same time."""
CHECKED = 8
"""One row in this many is not fitted but checks the fit."""
SOLVER, LEAST_ITERATIONS = 8, 8
"""Budget of the solver for steps of a layer with zeros, in multiples of the rounds' products; fewest useful steps."""
CHEAP_BYTES = 1 << 30
"""Bytes of activations over all samples that are cheap to compute."""


def rest_of(rows: Rows, step: FitStep, arrays: Arrays) -> np.ndarray:
    """The part of the aim [rows, channels] that the free entries of a layer must make: the aim minus all addends."""
    assert isinstance(step.layer, LinearLayer)
    rest = step.aim.channels(rows.values).astype(np.float64)
    for term in step.aim.addends:
        rest -= sampled(
            _spread_out(arrays[term.name], rows.outs, step.aim.axis, rest.shape[1]), step.aim.axis, rows.places
        )
    offset = step.layer.offset(arrays[step.layer.source.name], rows.places)
    return rest if offset is None else rest - offset


def _spread_out(term: np.ndarray, outs: tuple[int, ...], axis: int, channels: int) -> np.ndarray:
    """A term of a sum, broadcast to the sum's shape; a padded batch stays longer than `outs` says."""
    shape = list(outs)
    shape.insert(axis % (len(outs) + 1), channels)
    if term.ndim == len(shape):
        shape[0] = max(shape[0], term.shape[0])
    return np.broadcast_to(term, shape)


def joined(layer: LinearLayer) -> np.ndarray:
    """The weights of a layer without groups, with the shift as the last row: float32 [K + 1, M]."""
    return np.concatenate([layer.weights()[0], layer.shift()]).astype(np.float32)


def sample_size(layer: LinearLayer, first: LinearLayer, most: int) -> int:
    """How many outputs of `layer`, which reads `first`, to take so that all rounds take `most` products."""
    inputs = _taps(layer) * (first.weights().shape[1] + 1)
    width, results = first.weights().shape[2], layer.weights().shape[2]
    hidden = _taps(layer) * width
    each = ROUNDS * (2 * inputs * width + hidden**2 // SOLVED + PER_NUMBER * (hidden + results))
    return int(min(MOST_OUTPUTS, MOST_BYTES // (4 * inputs), most // each))


def iterations(first: LinearLayer, most: int) -> int:
    """How many iterations the solver for steps of `first` may take, so that all rounds take `SOLVER · most` products.

    0: too few to be useful. Without zeros none are needed, and the number does not matter.
    """
    weights = first.weights()
    if (weights != 0).all():
        return ITERATIONS
    _, inputs, width = weights.shape
    found = min(ITERATIONS, SOLVER * most // (ROUNDS * inputs * width * (inputs + width)))
    return found if found >= LEAST_ITERATIONS else 0


def _taps(layer: LinearLayer) -> int:
    return prod(layer.windows.kernel) if isinstance(layer, Convolution) else 1


def split(rows: Rows, size: int) -> Iterator[Rows]:
    """`size` evenly spaced positions of a batch, in two parts: one to fit, one to check on other samples."""
    some = np.unique(np.linspace(0, len(rows.places) - 1, min(size, len(rows.places))).astype(np.int64))
    # Positions are sorted: the last ones come from other samples than the first.
    for part in np.split(some, [len(some) - len(some) // CHECKED]):
        yield Rows(rows.outs, rows.places[part], rows.values[part])


def sample(rows: Rows, step: FitStep, arrays: Arrays, layer: LinearLayer, first: LinearLayer) -> Sample:
    """Outputs of `layer` at some positions, with the rows of `first` that they depend on."""
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


def refit_data(model: Model, data: Dataset, effort: Effort, seed: int, least: int = REFIT_SAMPLES) -> Dataset:
    """The samples for refitting a pass's result: `least`, more if they are small, at most the effort's."""
    return data.take(effort.at_most(sample_count(model, data, least)), seed)


def sample_count(model: Model, data: Dataset, least: int) -> int:
    """The number of samples to use: `least`, or more where their activations are small, up to all of `data`.

    A convolution gives one row per position of a picture, a matrix product one per sample: small nets of such layers
    need thousands of samples to have more rows than unknowns.
    """
    static = static_values(model)
    outputs = [out for node in model.graph.nodes for out in node.outputs]
    names = [out.name for out in outputs if isinstance(out, Variable) and out.name and out not in static]
    if len(data) <= least or not names:
        return min(least, len(data))
    arrays = next(Capture(model, names).batches(data.take(1), 1))
    return min(len(data), max(least, CHEAP_BYTES // max(1, sum(array.nbytes for array in arrays.values()))))
