"""Shapes in whole numbers, for one sample: the basis for a model's cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onnx_compress.compiler.errors import UserError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Dim, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.runtime.shapes.inference import infer
from onnx_compress.compiler.runtime.shapes.observed import observe

BATCH = 1
RUNNABLE_BYTES = 1 << 30
"""Bytes of weights up to which a model is run once for shapes that can't be inferred."""


class UnknownSize(Exception):
    """An unknown dimension. The message names the tensor."""


class SizeTable:
    """The shape of every tensor whose dimensions follow from those of inputs and weights.

    Inputs have the given shapes; without one, a free first axis is the batch, 1. `is_whole` says that all dimensions
    of the inputs are fixed.
    """

    def __init__(self, model: Model, inputs: Mapping[str, Sequence[int]]) -> None:
        self._model = _fixed(model, inputs)
        self._shapes = infer(self._model)
        self._seen: dict[str, tuple[int, ...]] = {}
        self._failure = ""
        self.is_whole = all(tensor.shape is not None and _is_fixed(tensor.shape) for tensor in self._model.inputs())

    def __call__(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of `tensor`. Raises UnknownSize with its name and known dimensions."""
        constant = constant_of(tensor)
        shape = self._shape(tensor.name) if constant is None else tuple(constant.shape)
        if shape is None:
            raise UnknownSize(f"the shape of '{tensor.name}' is unknown{self._failure}")
        if not _is_fixed(shape):
            raise UnknownSize(f"the shape of '{tensor.name}' is [{', '.join(map(_written, shape))}]{self._failure}")
        return tuple(int(dim) for dim in shape if dim is not None)

    def _shape(self, name: str) -> tuple[Dim, ...] | None:
        return self._seen.get(name) or self._shapes.shape(name)

    def look(self, tensors: Iterable[Tensor]) -> None:
        """Observe the shapes of `tensors` that inference left open, by running the model on synthetic inputs.

        Only if all inputs are fixed: otherwise their sizes would be guessed too.
        """
        names = [tensor.name for tensor in tensors if not _is_fixed(self._shapes.shape(tensor.name) or (None,))]
        if not names or not self.is_whole or self._model.weight_bytes() > RUNNABLE_BYTES:
            return
        try:
            self._seen.update((name, shape) for name, _, shape in observe(self._model, names))
        except UserError as error:  # a model that does not run has a cost all the same, as far as shapes are known
            self._failure = f", and running the model did not tell: {error}"


def _is_fixed(shape: Sequence[Dim]) -> bool:
    return all(isinstance(dim, int) and dim >= 0 for dim in shape)


def _written(dim: Dim) -> str:
    return "?" if dim is None else str(dim)


def _fixed(model: Model, inputs: Mapping[str, Sequence[int]]) -> Model:
    """A copy whose inputs have the sizes of one sample, the same wherever a dimension has the same name."""
    twin = model.clone()
    shapes = {tensor: list(tensor.shape) for tensor in twin.inputs() if tensor.shape is not None}
    named: dict[Dim, int] = {}
    for tensor, shape in shapes.items():
        given = inputs.get(tensor.name, (BATCH,))
        for axis, size in enumerate(given[: len(shape)]):
            if not _is_fixed(shape[axis : axis + 1]):
                named.setdefault(shape[axis], size)
                shape[axis] = size
    for tensor, shape in shapes.items():
        edit.set_shape(twin, tensor, [named.get(dim, dim) if isinstance(dim, str) else dim for dim in shape])
    return twin
