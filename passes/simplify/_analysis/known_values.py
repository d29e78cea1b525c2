"""The known elements of small integer values (shapes, axes, sizes)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx

from onnx_compress.compiler.analysis.channels.integers import INTEGERS
from onnx_compress.compiler.ir.graph import Dim, Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.passes.simplify._analysis.facts import Facts

LONGEST = 64
"""Maximum number of elements of a value that may be a shape."""


@dataclass(frozen=True)
class Known:
    """A scalar or vector of integers; each element is a number, a dimension's name, or None if unknown."""

    values: tuple[Dim, ...]
    is_scalar: bool = False

    @property
    def is_static(self) -> bool:
        """Whether every element is a number."""
        return all(isinstance(value, int) for value in self.values)

    def array(self, kind: int) -> np.ndarray:
        """The value as an array with ONNX's element type `kind`."""
        array = np.asarray(self.values, onnx.helper.tensor_dtype_to_np_dtype(kind))
        return array.reshape(()) if self.is_scalar else array


Args: TypeAlias = list[Known | None]
Handler: TypeAlias = Callable[[Node, Args, Facts], Known | None]


def known_values(model: Model, facts: Facts) -> dict[Tensor, Known]:
    """The known elements of each integer scalar and vector that nodes compute from shapes and constants."""
    known: dict[Tensor, Known] = {}
    for node in model.nodes():
        handler = _HANDLERS.get(node.op) if node.is_standard else None
        if handler is None:
            continue
        args = [known.get(tensor) or _constant(tensor, facts) for tensor in node.inputs]
        result = handler(node, args, facts)
        if result is not None and len(result.values) <= LONGEST:
            known[node.outputs[0]] = result
    return known


def _constant(tensor: Tensor, facts: Facts) -> Known | None:
    shape = facts.shape(tensor)
    if not tensor.name or shape is None or len(shape) > 1 or facts.type(tensor) not in INTEGERS:
        return None
    array = facts.value(tensor, limit=LONGEST * 8)
    return None if array is None else Known(tuple(int(v) for v in array.reshape(-1)), is_scalar=array.ndim == 0)


def _static(args: Args, slot: int) -> tuple[int, ...] | None:
    if slot >= len(args) or (arg := args[slot]) is None or not arg.is_static:
        return None
    return tuple(v for v in arg.values if isinstance(v, int))


def _shape(node: Node, args: Args, facts: Facts) -> Known | None:
    shape = facts.shape(node.inputs[0])
    return None if shape is None else Known(shape[node.attrs.get("start", 0) : node.attrs.get("end")])


def _size(node: Node, args: Args, facts: Facts) -> Known | None:
    shape = facts.shape(node.inputs[0])
    sizes = [dim for dim in shape or () if isinstance(dim, int)]
    return Known((math.prod(sizes),), is_scalar=True) if shape is not None and len(sizes) == len(shape) else None


def _gather(node: Node, args: Args, facts: Facts) -> Known | None:
    data, indices = args[0], _static(args, 1)
    if data is None or data.is_scalar or indices is None or node.attrs.get("axis", 0) not in (0, -1):
        return None
    if any(not -len(data.values) <= i < len(data.values) for i in indices):
        return None
    assert args[1] is not None
    return Known(tuple(data.values[i] for i in indices), is_scalar=args[1].is_scalar)


def _slice(node: Node, args: Args, facts: Facts) -> Known | None:
    if args[0] is None or args[0].is_scalar:
        return None
    if len(args) == 1:
        bounds: list[tuple[int, ...] | None] = [node.attrs.get("starts"), node.attrs.get("ends"), (1,)]
    else:
        bounds = [_static(args, 1), _static(args, 2), _static(args, 4) if len(node.inputs) > 4 else (1,)]
    if any(bound is None or len(bound) != 1 for bound in bounds):
        return None
    start, end, step = (bound[0] for bound in bounds if bound is not None)
    if step < 1:
        return None
    return Known(args[0].values[start:end:step])


def _concat(node: Node, args: Args, facts: Facts) -> Known | None:
    if any(arg is None or arg.is_scalar for arg in args):
        return None
    return Known(tuple(value for arg in args if arg is not None for value in arg.values))


def _to_scalar(node: Node, args: Args, facts: Facts) -> Known | None:
    return Known(args[0].values, is_scalar=True) if args[0] is not None and len(args[0].values) == 1 else None


def _to_vector(node: Node, args: Args, facts: Facts) -> Known | None:
    return Known(args[0].values) if args[0] is not None and args[0].is_scalar else None


def _reshape(node: Node, args: Args, facts: Facts) -> Known | None:
    target = _static(args, 1)
    if args[0] is None or target is None or len(target) > 1:
        return None
    return Known(args[0].values, is_scalar=not target)


def _same(node: Node, args: Args, facts: Facts) -> Known | None:
    return args[0]


def _cast(node: Node, args: Args, facts: Facts) -> Known | None:
    is_integer = node.attrs.get("to") in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    return args[0] if is_integer else None


def _elementwise(combine: Callable[[Dim, Dim], Dim]) -> Handler:
    def handler(node: Node, args: Args, facts: Facts) -> Known | None:
        left, right = args
        if left is None or right is None or not _broadcasts(left, right):
            return None
        length = max(len(left.values), len(right.values))
        pairs = zip(_stretched(left, length), _stretched(right, length), strict=True)
        return Known(tuple(combine(a, b) for a, b in pairs), is_scalar=left.is_scalar and right.is_scalar)

    return handler


def _broadcasts(left: Known, right: Known) -> bool:
    lengths = {len(left.values), len(right.values)}
    return 0 not in lengths and len(lengths - {1}) <= 1


def _stretched(known: Known, length: int) -> tuple[Dim, ...]:
    return known.values * length if len(known.values) == 1 else known.values


def _add(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return b if a == 0 else a if b == 0 else None


def _sub(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return a if b == 0 else None


def _mul(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return b if a == 1 else a if b == 1 else None


def _div(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int) and b:
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return a if b == 1 else None


def _equal(a: Dim, b: Dim) -> Dim:
    if a is None or b is None:
        return None
    if isinstance(a, str) != isinstance(b, str):
        number = b if isinstance(a, str) else a
        return 0 if isinstance(number, int) and number < 0 else None
    return int(a == b) if a == b or isinstance(a, int) else None


def _where(node: Node, args: Args, facts: Facts) -> Known | None:
    given = [arg for arg in args if arg is not None]
    length = max((len(arg.values) for arg in given), default=0)
    if len(given) < 3 or any(len(arg.values) not in (1, length) for arg in given):
        return None
    columns = zip(*(_stretched(arg, length) for arg in given), strict=True)
    return Known(tuple(_chosen(*column) for column in columns), is_scalar=all(arg.is_scalar for arg in given))


def _chosen(condition: Dim, a: Dim, b: Dim) -> Dim:
    if isinstance(condition, int):
        return a if condition else b
    return a if a == b else None


def _product(node: Node, args: Args, facts: Facts) -> Known | None:
    values = _static(args, 0)
    if values is None or (len(node.inputs) > 1 and _static(args, 1) != (0,)):
        return None
    return Known((math.prod(values),), is_scalar=not node.attrs.get("keepdims", 1))


_HANDLERS: dict[str, Handler] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Squeeze": _to_scalar,
    "Unsqueeze": _to_vector,
    "Reshape": _reshape,
    "Identity": _same,
    "Cast": _cast,
    "Add": _elementwise(_add),
    "Sub": _elementwise(_sub),
    "Mul": _elementwise(_mul),
    "Div": _elementwise(_div),
    "Equal": _elementwise(_equal),
    "Where": _where,
    "ReduceProd": _product,
}
