"""Element types and shapes of all values of a model, merged from several sources.

No source knows all, and each fails on some models: onnxruntime's symbolic inference follows computed shapes best but
stops at the first unknown operator; onnx's inference continues but leaves gaps. So their results are merged value by
value, and a failure is only noted. Of large weights, only type and shape are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from onnx_compress.compiler.errors import UserError
from onnx_compress.compiler.ir.files.exporter import embedded, export_graph, placeholder
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.shapes.observed import observe
from onnx_compress.compiler.runtime.shapes.symbolic import symbolic
from onnx_compress.compiler.runtime.specs import Dim, ModelLike, as_model, element_dtype, shape_of, specs

KEPT_BYTES = 1 << 13
"""Constants up to this size keep their values: constants that shapes are computed from are smaller."""


@dataclass(frozen=True)
class ValueType:
    """The known type of a value: `dtype`, None if unknown, and `shape` as in `specs.TensorSpec`."""

    dtype: np.dtype | None
    shape: tuple[Dim, ...] | None


UNKNOWN = ValueType(None, None)


@dataclass(frozen=True)
class Shapes:
    """Types of values by name, including those in bodies of control-flow nodes.

    Free dimensions have the model's names, or expressions in them ('3*H*W'). `notes` say which source failed and why.
    """

    types: Mapping[str, ValueType]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Model) -> Shapes:
        """`infer`, as an analysis."""
        return infer(model)

    def shape(self, name: str) -> tuple[Dim, ...] | None:
        """The shape of a value; None if its rank is unknown."""
        return self.types.get(name, UNKNOWN).shape

    def dtype(self, name: str) -> np.dtype | None:
        """The element type of a value; None if unknown or if the value is not a tensor."""
        return self.types.get(name, UNKNOWN).dtype


def infer(model: ModelLike, *, by_running: bool = False) -> Shapes:
    """Types and shapes of the values of `model`; a failed inference does not raise.

    With `by_running`, values that stay unknown get their sizes from a run on synthetic inputs: sizes for these
    inputs, not for all.
    """
    loaded = as_model(model)
    proto = _without_weights(loaded)
    table = _Table()
    infos, bodies, note = symbolic(proto)
    table.add(_types(infos))
    table.add(_in_bodies(bodies))
    table.note("onnxruntime's symbolic inference", note)
    inferred, note = _inferred_by_onnx(proto)
    table.add(_without_generated_names(inferred, proto))
    table.note("onnx's inference", note)
    table.add(_declared(proto))
    # Inputs keep their declared types, whatever a source calls their dimensions.
    table.types.update((spec.name, ValueType(spec.dtype, spec.shape)) for spec in specs(loaded).inputs)
    if by_running:
        _observe(loaded, table)
    return Shapes(table.types, tuple(table.notes))


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


class _Table:
    """The results of the sources so far; earlier ones take precedence."""

    def __init__(self) -> None:
        self.types: dict[str, ValueType] = {}
        self.notes: list[str] = []

    def add(self, found: Iterable[tuple[str, ValueType]]) -> None:
        for name, value in found:
            self.types[name] = merged(self.types.get(name, UNKNOWN), value)

    def note(self, source: str, reason: str) -> None:
        if reason:
            self.notes.append(f"{source} stopped: {reason}")

    def is_complete(self, name: str) -> bool:
        shape = self.types.get(name, UNKNOWN).shape
        return shape is not None and None not in shape


def _without_weights(model: Model) -> onnx.ModelProto:
    """The model with typed inputs in place of its large weights, including those in Constant nodes.

    So no library looks for their values. Weights inside bodies are kept: a body can't have such inputs.
    """
    top = {c for c in model.graph.initializers if c.nbytes > KEPT_BYTES}
    nodes = [node for node in model.graph.nodes if node.is_op("Constant")]
    held = {v for node in nodes for v in node.attrs.values() if isinstance(v, Constant) and v.nbytes > KEPT_BYTES}
    proto = onnx.ModelProto()
    proto.CopyFrom(model.header)
    proto.graph.CopyFrom(
        export_graph(model.graph, lambda c: placeholder(c, 0) if c in top or c in held else embedded(c), is_dense=True)
    )
    _free(proto.graph)
    return proto


def _free(graph: onnx.GraphProto) -> None:
    """Turn the placeholders of a graph into inputs."""
    known = {info.name for info in graph.input}
    absent = {t.name: t for t in graph.initializer if _is_placeholder(t)}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and _is_placeholder(node.attribute[0].t):
            absent[node.output[0]] = node.attribute[0].t
    nodes = [node for node in graph.node if not (node.op_type == "Constant" and node.output[0] in absent)]
    initializers = [tensor for tensor in graph.initializer if tensor.name not in absent]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    graph.input.extend(
        onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        for name, tensor in absent.items()
        if name not in known
    )


def _is_placeholder(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def _inferred_by_onnx(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True), ""
    except Exception as error:  # any operator's inference may raise
        return proto, " ".join(str(error).split())[:200]


def _without_generated_names(inferred: onnx.ModelProto, declared: onnx.ModelProto) -> Iterator[tuple[str, ValueType]]:
    """The results of onnx without the names ('unk__0') that it generates for unknown dimensions."""
    known = {dim for _, found in _declared(declared) for dim in found.shape or ()}
    for name, found in _declared(inferred):
        shape = found.shape
        if shape is not None:
            shape = tuple(dim if isinstance(dim, int) or dim in known else None for dim in shape)
        yield name, ValueType(found.dtype, shape)


def _observe(model: Model, table: _Table) -> None:
    names = [out.name for node in model.graph.nodes for out in node.outputs]
    try:
        for name, dtype, shape in observe(model, [name for name in names if not table.is_complete(name)]):
            table.add([(name, ValueType(dtype, shape))])
    except UserError as error:
        table.note("running the model", str(error))


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
