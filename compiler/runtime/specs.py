"""The signature of a model: names, element types and shapes of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.files.exporter import export_info
from onnx_compress.compiler.ir.model import Model

ModelLike: TypeAlias = Model | onnx.ModelProto | Path | str
Dim: TypeAlias = int | str | None


@dataclass(frozen=True)
class TensorSpec:
    """An input or output as declared.

    In `shape`, a number is a fixed dimension, a name is a free one that is the same wherever the name occurs, and None
    is free and unnamed; `shape` itself is None if the rank is unknown. `dtype` is None if the value is not a tensor;
    then `kind` is 'sequence', 'map', 'optional' or 'sparse tensor'.
    """

    name: str
    dtype: np.dtype | None
    shape: tuple[Dim, ...] | None
    kind: str = "tensor"

    def __str__(self) -> str:
        if self.dtype is None:
            return f"{self.name}: {self.kind}"
        if self.shape is None:
            return f"{self.name}: {self.element} of any shape"
        return f"{self.name}: {self.element} {bracketed(self.shape)}"

    @property
    def element(self) -> str:
        """The element type as messages name it."""
        return "string" if self.dtype is not None and self.dtype.kind == "O" else str(self.dtype)


@dataclass(frozen=True)
class Signature:
    """The interface of a model: models with equal signatures can replace each other."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def specs(model: ModelLike) -> Signature:
    """The required inputs (those without a default value) and the outputs, in order."""
    if isinstance(model, Model):
        return Signature(_all(map(export_info, model.inputs())), _all(map(export_info, model.outputs())))
    graph = (model if isinstance(model, onnx.ModelProto) else header_of(Path(model))).graph
    default = {tensor.name for tensor in graph.initializer}
    default |= {tensor.values.name for tensor in graph.sparse_initializer}
    return Signature(_all(info for info in graph.input if info.name not in default), _all(graph.output))


def as_model(model: ModelLike) -> Model:
    """`model` as a Model, loaded or wrapped if necessary."""
    if isinstance(model, Model):
        return model
    return Model.from_proto(model) if isinstance(model, onnx.ModelProto) else Model.load(model)


def header_of(path: Path) -> onnx.ModelProto:
    """The model file at `path` without its external data. Raises ModelError."""
    try:
        return onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such file") from None
    except Exception:  # protobuf's DecodeError, text instead of protobuf, an unreadable file
        raise ModelError(f"{path}: not an ONNX model, or the file is truncated or unreadable") from None


def bracketed(shape: Sequence[Dim]) -> str:
    """A shape in the form of messages: '[N, 3, ?]'."""
    return f"[{', '.join('?' if dim is None else str(dim) for dim in shape)}]"


def describe(inputs: Sequence[TensorSpec]) -> str:
    """The inputs of a model in the form of messages: 'image: float32 [N, 3, 32, 32]'."""
    return "; ".join(map(str, inputs)) or "no inputs"


def _all(infos: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(info) for info in infos)


def _spec(info: onnx.ValueInfoProto) -> TensorSpec:
    kind = info.type.WhichOneof("value")
    if kind not in ("tensor_type", None):
        return TensorSpec(info.name, None, None, str(kind).removesuffix("_type").replace("_", " "))
    tensor = info.type.tensor_type
    dtype = element_dtype(tensor.elem_type) if tensor.elem_type else None
    return TensorSpec(info.name, dtype, shape_of(tensor) if tensor.HasField("shape") else None)


def element_dtype(element: int) -> np.dtype:
    """NumPy's type for ONNX's element type; strings are objects. Raises ModelError for an unknown number."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))
    except KeyError:
        raise ModelError(f"the model declares the unknown element type {element}") from None


def shape_of(tensor: onnx.TypeProto.Tensor) -> tuple[Dim, ...]:
    """The declared dimensions; a negative number, which old exporters wrote for a free one, is None."""
    return tuple(_dim(dim) for dim in tensor.shape.dim)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None


def runtime_dtype(name: str) -> np.dtype | None:
    """NumPy's type for onnxruntime's name of a tensor type, such as 'tensor(float)'; None if not a tensor."""
    if not name.startswith("tensor("):
        return None
    element = name.removeprefix("tensor(").removesuffix(")").upper()
    return element_dtype(getattr(onnx.TensorProto, element, onnx.TensorProto.UNDEFINED))
