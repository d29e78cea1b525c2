"""Shapes in whole numbers, for one sample: what the cost of a model is computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from onnx_compress.compiler.analysis.macs import UnknownSize
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Dim, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.runtime.shapes import Shapes, infer

BATCH = 1


class SizeTable:
    """The shape of every tensor whose dimensions follow from the inputs' and the weights'."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    @classmethod
    def of(cls, model: Model, inputs: Mapping[str, Sequence[int]]) -> Self:
        """Infer them, with inputs of the shapes given; otherwise a first axis that may vary is the batch, 1."""
        return cls(infer(_fixed(model, inputs)))

    def __call__(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of `tensor`. Raises UnknownSize naming it, and the dimensions that it hangs on."""
        constant = constant_of(tensor)
        shape = self._shapes.shape(tensor.name) if constant is None else tuple(constant.shape)
        if shape is None:
            raise UnknownSize(f"the shape of '{tensor.name}' is not known")
        sizes = tuple(dim for dim in shape if isinstance(dim, int))
        if len(sizes) != len(shape):
            raise UnknownSize(f"the shape of '{tensor.name}' is [{', '.join(map(_written, shape))}]")
        return sizes


def _written(dim: Dim) -> str:
    return "?" if dim is None else str(dim)


def _fixed(model: Model, inputs: Mapping[str, Sequence[int]]) -> Model:
    """A copy whose inputs have the sizes of one sample, the same wherever a dimension has the same name."""
    twin = model.clone()
    shapes = {tensor: list(tensor.shape) for tensor in twin.inputs() if tensor.shape is not None}
    named: dict[str, int] = {}
    for tensor, shape in shapes.items():
        given = inputs.get(tensor.name, (BATCH,))
        for axis, size in enumerate(given[: len(shape)]):
            if not isinstance(shape[axis], int):
                if shape[axis] is not None:
                    named.setdefault(shape[axis], size)
                shape[axis] = size
    for tensor, shape in shapes.items():
        edit.set_shape(twin, tensor, [named.get(dim, dim) if isinstance(dim, str) else dim for dim in shape])
    return twin
