"""How many samples to fit with."""

from __future__ import annotations

from onnx_compress.compiler.ir.graph import Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.prefix import static_values
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.compiler.runtime.data import Dataset

BYTES = 1 << 30
"""Activations that are cheap to compute, over all samples."""


def amount(model: Model, data: Dataset, least: int) -> int:
    """At least so many samples, more where they are small, as far as there are any.

    A convolution gives a row for each place of a picture, a product of matrices one for each sample: small nets of
    such layers need thousands of samples for more rows than unknowns.
    """
    static = static_values(model)
    outputs = [out for node in model.graph.nodes for out in node.outputs]
    names = [out.name for out in outputs if isinstance(out, Variable) and out.name and out not in static]
    if len(data) <= least or not names:
        return min(least, len(data))
    arrays = next(Capture(model, names).batches(data.take(1), 1))
    return min(len(data), max(least, BYTES // max(1, sum(array.nbytes for array in arrays.values()))))
