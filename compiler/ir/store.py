"""Change how weights are stored, without changing their values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.encoded import Encoding
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.storage.program import Program
from onnx_compress.compiler.storage.structure import equal_bits, positive_zero


def store_as(model: Model, weights: Mapping[str, Constant], program: Program) -> None:
    """Store the weights as `program`; `weights` maps each of its outputs to the weight it computes.

    Raises ValueError if the program's values differ from a weight's, compared bitwise except for the sign of zeros.
    """
    tensors = Encoding(program).tensors()
    for output, (_, values) in tensors.items():
        _check(weights[output], values, program.form)
    for output, (tensor, _) in tensors.items():
        weights[output].store_as(tensor)
    edit.touch(model)


def store_sparse(model: Model, constant: Constant, sparse: onnx.SparseTensorProto) -> None:
    """Store a weight as a sparse initializer. Raises ValueError if that has other values."""
    lazy = LazyTensor(sparse)
    _check(constant, lazy.load(), "sparse")
    constant.store_as(lazy)
    edit.touch(model)


def store_dense(model: Model, constant: Constant) -> None:
    """Store a weight as a plain initializer."""
    constant.store_as(np.array(constant.values))
    edit.touch(model)


def _check(constant: Constant, found: np.ndarray, form: str) -> None:
    values = positive_zero(constant.values)
    if values.dtype != found.dtype or values.shape != found.shape or not equal_bits(values, found):
        raise ValueError(f"'{constant.name}' can't be stored as {form}: it would have other values")
