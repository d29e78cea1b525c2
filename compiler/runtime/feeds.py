"""Inputs and outputs of onnxruntime: inputs are checked first, results are always arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.specs import Dim, TensorSpec, describe


def fitting(inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`feeds` as onnxruntime requires them: exactly the model's inputs, of the exact type and a matching shape.

    Raises DataError that names the input; onnxruntime's own errors name it only sometimes.
    """
    missing = [spec.name for spec in inputs if spec.name not in feeds]
    if missing:
        raise DataError(f"input '{missing[0]}' is missing; the model takes {describe(inputs)}")
    return {spec.name: _fitting(spec, np.asarray(feeds[spec.name])) for spec in inputs}


def fits(shape: Sequence[int], declared: Sequence[Dim] | None) -> bool:
    """Whether `shape` matches the declared shape."""
    if declared is None:
        return True
    return len(shape) == len(declared) and all(
        not isinstance(dim, int) or dim == extent for extent, dim in zip(shape, declared, strict=True)
    )


def as_arrays(name: str, value: object) -> dict[str, np.ndarray]:
    """One result of onnxruntime as arrays.

    A sequence of tensors becomes an entry `name[i]` per element. A map or a sequence of maps (the output of
    scikit-learn's classifiers) becomes a matrix with a row per map and a column per key, in onnxruntime's order,
    which is sorted. An empty optional gives no array.
    """
    if value is None:
        return {}
    if isinstance(value, dict):
        return {name: _matrix([value])}
    if not isinstance(value, list):
        return {name: np.asarray(value)}
    if value and isinstance(value[0], dict):
        return {name: _matrix(value)}
    return {f"{name}[{i}]": np.asarray(item) for i, item in enumerate(value)}


def _fitting(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if spec.dtype is None:
        raise DataError(f"input '{spec.name}' is a {spec.kind}; only tensors are supported")
    if spec.dtype.kind == "O" and array.dtype.kind in "US":
        array = array.astype(str).astype(object)
    if array.dtype != spec.dtype:
        raise DataError(f"input '{spec.name}' has type {array.dtype}; the model takes {spec}")
    if not fits(array.shape, spec.shape):
        raise DataError(f"input '{spec.name}' has shape {list(array.shape)}; the model takes {spec}")
    return np.require(array, requirements="C")


def _matrix(maps: Sequence[Mapping[object, object]]) -> np.ndarray:
    return np.asarray([[row[key] for key in maps[0]] for row in maps])
