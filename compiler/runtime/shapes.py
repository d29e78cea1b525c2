"""Element types and shapes of all values of a model, from every source that has an opinion.

No source knows all, and each has models on which it fails: onnxruntime's symbolic inference follows computed
shapes best but stops at the first operator it does not know; onnx's own goes on but leaves holes. So their answers
are merged value by value, and a failure is a note, never the end. Large weights take part by type and shape
alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

from onnx_compress.compiler.errors import CompressError, ModelError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.observed import observe
from onnx_compress.compiler.runtime.specs import Dim, ModelLike, as_model, element_dtype, shape_of, specs

KEPT_BYTES = 1 << 13
"""Constants up to this size keep their values: those that shapes are computed from are smaller."""
_LARGEST_INT = 2**31 - 1


@dataclass(frozen=True)
class ValueType:
    """What is known of a value: `dtype`, None where unknown, and `shape` as in `specs.TensorSpec`."""

    dtype: np.dtype | None
    shape: tuple[Dim, ...] | None


UNKNOWN = ValueType(None, None)


@dataclass(frozen=True)
class Shapes:
    """Types of values by name, those in bodies of control-flow nodes included.

    Names of free dimensions are the model's own where these are known, or expressions in them ('3*H*W').
    `notes` say which source failed and why.
    """

    types: Mapping[str, ValueType]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Model) -> Shapes:
        """`infer`, as an analysis."""
        return infer(model)

    def shape(self, name: str) -> tuple[Dim, ...] | None:
        """The shape of a value; None where not even its rank is known."""
        return self.types.get(name, UNKNOWN).shape

    def dtype(self, name: str) -> np.dtype | None:
        """The element type of a value; None where it is not known or the value is no tensor."""
        return self.types.get(name, UNKNOWN).dtype


def infer(model: ModelLike, *, by_running: bool = False) -> Shapes:
    """Types and shapes of the values of `model`; never raises for what can't be inferred.

    With `by_running`, values that stay unknown get the sizes they have when the model runs on made-up
    inputs: those are the sizes for these inputs, not for all.
    """
    loaded = as_model(model)
    proto = _without_weights(loaded.skeleton(KEPT_BYTES))
    types: dict[str, ValueType] = {}
    notes: list[str] = []
    for source, name in (
        (_symbolic, "onnxruntime's symbolic inference"),
        (_onnx, "onnx's inference"),
        (_declared, "the file"),
    ):
        with _noted(name, notes):
            for value, found in source(proto):
                types[value] = merged(types.get(value, UNKNOWN), found)
    types.update(
        (spec.name, ValueType(spec.dtype, spec.shape)) for spec in specs(loaded).inputs
    )  # as promised to callers
    if by_running:
        with _noted("running the model", notes):
            unsure = [out.name for node in loaded.graph.nodes for out in node.outputs]
            unsure = [name for name in unsure if not _is_complete(types.get(name, UNKNOWN))]
            for value, dtype, shape in observe(loaded, unsure):
                types[value] = merged(types.get(value, UNKNOWN), ValueType(dtype, shape))
    return Shapes(types, tuple(notes))


def merged(known: ValueType, other: ValueType) -> ValueType:
    """`known` with its gaps filled from `other`: a number beats a name, a name beats nothing."""
    dtype = known.dtype if known.dtype is not None else other.dtype
    if known.shape is None or other.shape is None or len(known.shape) != len(other.shape):
        return ValueType(dtype, other.shape if known.shape is None else known.shape)
    return ValueType(dtype, tuple(map(_better, known.shape, other.shape)))


def _better(known: Dim, other: Dim) -> Dim:
    if isinstance(known, int) or other is None:
        return known
    return other if known is None or isinstance(other, int) else known


def _is_complete(known: ValueType) -> bool:
    return known.shape is not None and None not in known.shape


@contextmanager
def _noted(source: str, notes: list[str]) -> Iterator[None]:
    """Turn whatever a source raises into a note."""
    try:
        yield
    except Exception as error:  # other projects' code on models of any kind
        kind = "" if isinstance(error, CompressError) else f"{type(error).__name__}: "
        notes.append(f"{source} stopped: {kind}{' '.join(str(error).split())[:200]}")


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """`proto` with its placeholders as typed inputs: no library then looks for their values."""
    heavy = [t for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    light = [t for t in proto.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
    inputs = {info.name for info in proto.graph.input}
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(light)
    for tensor in heavy:
        if tensor.name not in inputs:
            proto.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return proto


def _symbolic(proto: onnx.ModelProto) -> Iterator[tuple[str, ValueType]]:
    # Not `infer_shapes`: where that stops early it discards what it has, and leaves a file behind in the
    # current folder.
    with _quiet("onnxruntime.tools.symbolic_shape_infer"):
        inference = SymbolicShapeInference(_LARGEST_INT, True, False, 0)
        complete = False
        try:
            inference._preprocess(proto)
            while inference.run_:
                complete = inference._infer_impl()
        finally:
            yield from _types(getattr(inference, "known_vi_", {}).values())
            yield from _in_bodies(inference.out_mp_.graph)
    if not complete:
        raise ModelError("there is an operator that it does not know")


def _onnx(proto: onnx.ModelProto) -> Iterator[tuple[str, ValueType]]:
    known = {dim for _, declared in _declared(proto) for dim in declared.shape or ()}
    for name, found in _declared(onnx.shape_inference.infer_shapes(proto, data_prop=True)):
        # Names that onnx makes up for what it does not know ('unk__0') say nothing.
        shape = (
            None if found.shape is None else tuple(d if isinstance(d, int) or d in known else None for d in found.shape)
        )
        yield name, ValueType(found.dtype, shape)


def _declared(proto: onnx.ModelProto) -> Iterator[tuple[str, ValueType]]:
    yield from _graph_types(proto.graph)
    yield from _in_bodies(proto.graph)


def _in_bodies(graph: onnx.GraphProto) -> Iterator[tuple[str, ValueType]]:
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _graph_types(body)
                yield from _in_bodies(body)


def _graph_types(graph: onnx.GraphProto) -> Iterator[tuple[str, ValueType]]:
    for tensor in graph.initializer:
        yield tensor.name, ValueType(element_dtype(tensor.data_type), tuple(tensor.dims))
    yield from _types([*graph.input, *graph.value_info, *graph.output])


def _types(infos: Iterable[onnx.ValueInfoProto]) -> Iterator[tuple[str, ValueType]]:
    for info in infos:
        tensor = info.type.tensor_type
        if info.type.WhichOneof("value") in ("tensor_type", None):
            dtype = element_dtype(tensor.elem_type) if tensor.elem_type else None
            yield info.name, ValueType(dtype, shape_of(tensor) if tensor.HasField("shape") else None)


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Keep a library's warnings off the user's terminal: what matters is in the result."""
    found = logging.getLogger(logger)
    level = found.level
    found.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        found.setLevel(level)
