"""Run a program in NumPy, with exactly the result that onnxruntime's constant folding computes, within limits.

A program may come from an untrusted file, so the size of each step's result is checked before it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from onnx_compress.compiler.storage.program import Program, ProgramNode

MAX_BYTES = 1 << 32
"""Maximum size in bytes of a decoded or dense tensor: a few bytes of file could declare any size."""


class Undecodable(Exception):
    """The program is invalid, or its result is too large."""


def run(program: Program) -> dict[str, np.ndarray]:
    """The outputs of `program` by name. Raises Undecodable."""
    values = {part.name: part.array for part in program.parts}
    last = {name: i for i, step in enumerate(program.steps) for name in step.inputs}
    for i, step in enumerate(program.steps):
        made = _step(step, values)
        values.update(zip(step.outputs, made, strict=True))
        for name in step.inputs:
            if last[name] == i and name not in program.outputs:
                values.pop(name, None)
    return {name: values[name] for name in program.outputs}


def _step(step: ProgramNode, values: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
    operator = _OPERATORS.get(step.op)
    if operator is None:
        raise Undecodable(f"{step.op} is not an operator of stored weights")
    try:
        inputs = [values[name] for name in step.inputs]
        made = operator(dict(step.attrs), *inputs)
    except (KeyError, IndexError, ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise Undecodable(f"{step.op}: {error}") from None
    found = made if isinstance(made, list) else [made]
    if len(found) != len(step.outputs):
        raise Undecodable(f"{step.op} makes {len(found)} tensors, not {len(step.outputs)}")
    return found


def _allow(shape: Sequence[int], itemsize: int) -> None:
    if any(extent < 0 for extent in shape) or math.prod(shape) * itemsize > MAX_BYTES:
        raise Undecodable(f"a tensor of shape {list(shape)[:8]} is too large to be decoded")


def _cast(attrs: Mapping[str, int], x: np.ndarray) -> np.ndarray:
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(attrs["to"]))
    _allow(x.shape, dtype.itemsize)
    return np.asarray(x.astype(dtype))


def _gather(_: Mapping[str, int], data: np.ndarray, indices: np.ndarray) -> np.ndarray:
    _allow((*indices.shape, *data.shape[1:]), data.dtype.itemsize)
    if indices.size and (indices.min() < 0 or indices.max() >= len(data)):
        raise Undecodable("Gather: an index is out of range")
    return np.asarray(np.take(data, indices, axis=0))


def _gather_nd(attrs: Mapping[str, int], data: np.ndarray, indices: np.ndarray) -> np.ndarray:
    if attrs.get("batch_dims") != 1 or data.ndim != 3 or indices.dtype != np.int64:
        raise Undecodable("GatherND: the data must be codebooks")
    if indices.shape != (len(data), indices.size // max(1, len(data)), 1):
        raise Undecodable("GatherND: each codebook needs one row of indices")
    _allow((*indices.shape[:2], data.shape[2]), data.dtype.itemsize)
    if indices.size and (indices.min() < 0 or indices.max() >= data.shape[1]):
        raise Undecodable("GatherND: an index is out of range")
    return np.take_along_axis(data, indices, axis=1)


def _reshape(_: Mapping[str, int], x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return x.reshape([x.shape[i] if extent == 0 else int(extent) for i, extent in enumerate(shape)])


def _range(_: Mapping[str, int], start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    count = -(-(int(limit) - int(start)) // int(delta))
    _allow((max(0, count),), start.dtype.itemsize)
    return np.arange(int(start), int(limit), int(delta)).astype(start.dtype)


def _of_integers(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def compute(_: Mapping[str, int], a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.dtype.kind != "i" or b.dtype != a.dtype or (a < 0).any() or (b <= 0).any():
            raise Undecodable("division needs non-negative integers and positive divisors")
        _allow(np.broadcast_shapes(a.shape, b.shape), a.dtype.itemsize)
        return function(a, b)

    return compute


def _mul(_: Mapping[str, int], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype != b.dtype:
        raise Undecodable("Mul: the types differ")
    _allow(np.broadcast_shapes(a.shape, b.shape), a.dtype.itemsize)
    with np.errstate(all="ignore"):
        return np.asarray(a * b)


def _cumsum(_: Mapping[str, int], x: np.ndarray, axis: np.ndarray) -> np.ndarray:
    if int(axis) != 0 or x.ndim != 1:
        raise Undecodable("CumSum: the input must be a vector")
    return np.cumsum(x, dtype=x.dtype)


def _constant_of_shape(attrs: Mapping[str, np.dtype], shape: np.ndarray) -> np.ndarray:
    dtype = np.dtype(attrs.get("value", np.float32))
    _allow([int(extent) for extent in shape], dtype.itemsize)
    return np.zeros([int(extent) for extent in shape], dtype)


def _scatter(_: Mapping[str, int], data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    if data.ndim != 1 or indices.shape != updates.shape or indices.ndim != 1 or data.dtype != updates.dtype:
        raise Undecodable("ScatterElements: the inputs must be vectors")
    if indices.size and (indices.min() < 0 or indices.max() >= len(data)):
        raise Undecodable("ScatterElements: an index is out of range")
    made = data.copy()
    made[indices] = updates
    return made


def _tile(_: Mapping[str, int], x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    if repeats.shape != (x.ndim,):
        raise Undecodable("Tile: each axis needs one repetition count")
    _allow([int(r) * extent for r, extent in zip(repeats, x.shape, strict=True)], x.dtype.itemsize)
    return np.tile(x, [int(r) for r in repeats])


def _split(_: Mapping[str, int], x: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    if x.ndim != 1 or (sizes < 0).any() or int(sizes.sum()) != len(x):
        raise Undecodable("Split: the sizes do not add up")
    return list(np.split(x, np.cumsum(sizes)[:-1]))


def _slice(_: Mapping[str, int], x: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    if x.ndim != 1 or starts.shape != (1,) or ends.shape != (1,):
        raise Undecodable("Slice: the input must be a vector")
    return x[int(starts[0]) : int(ends[0])]


_OPERATORS: Mapping[str, Callable[..., np.ndarray | list[np.ndarray]]] = {
    "Cast": _cast,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Reshape": _reshape,
    "Range": _range,
    "Div": _of_integers(lambda a, b: a // b),
    "Mod": _of_integers(lambda a, b: a % b),
    "Transpose": lambda _, x: np.ascontiguousarray(x.T),
    "Mul": _mul,
    "CumSum": _cumsum,
    "ConstantOfShape": _constant_of_shape,
    "ScatterElements": _scatter,
    "Tile": _tile,
    "Split": _split,
    "Slice": _slice,
}
