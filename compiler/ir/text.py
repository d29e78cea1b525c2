"""Models as text: ONNX's own syntax, with weights as shapes, for tests and messages.

`to_text` is canonical: models with the same structure give the same text. A weight is written as `float[3,4] w`,
without values; only integer and boolean tensors of at most eight elements (shapes, axes, pads) are written out,
because the last digits of computed floats differ between machines. Whatever the syntax can't express is left out
(documentation, metadata, quantization annotations); a sparse weight is written like a dense one, with a comment
line at the end.

`from_text` reads the same syntax: a name that is declared between `<` and `>` and not computed by a node is a
weight, and is filled from a seed derived from its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from zlib import crc32

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.lazy import numpy_dtype
from onnx_compress.compiler.ir.model import Model

SHOWN = 8
"""Maximum number of elements of a tensor that is written out."""
_SHOWN_TYPES = (onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
_UNPRINTABLE = re.compile(r"\b(u?int[24]|float4e2m1)(\[[\d,]*\])?\.\.\.")
"""Tensors of narrow types in attributes, as printed by onnx's printer; onnx's parser does not read them."""
_RANGES = {"int8": (-128, 128), "uint8": (0, 256), "int4": (-8, 8), "uint4": (0, 16)}
"""Integers of quantized types fill their range; all other integers are 0 or 1, which are valid indices."""


def to_text(model: Model) -> str:
    """The canonical text of `model`, ending in a line break. Raises ModelError for names that are not UTF-8."""
    source = model.skeleton(limit=SHOWN * 8)
    proto = onnx.ModelProto(ir_version=source.ir_version)
    proto.opset_import.extend(sorted(source.opset_import, key=lambda opset: opset.domain))
    sparse: list[str] = []
    _normalize(source.graph, proto.graph, sparse)
    try:
        text = _UNPRINTABLE.sub(r"\1\2 {}", onnx.printer.to_text(proto))
    except UnicodeDecodeError:
        raise ModelError("a name in the model is not UTF-8: the model can't be printed") from None
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join([*lines, *sparse]) + "\n"


def _normalize(source: onnx.GraphProto, target: onnx.GraphProto, sparse: list[str]) -> None:
    """Fill `target` with the parts of `source` that the text shows: weights as declarations, attributes by name."""
    target.name = source.name or "g"
    target.input.extend(source.input)
    target.output.extend(source.output)
    for tensor in source.initializer:
        if _is_shown(tensor):
            target.initializer.append(_plain(tensor))
        else:
            target.value_info.append(_declaration(tensor.name, tensor.data_type, tensor.dims))
    for weight in source.sparse_initializer:
        name, count = weight.values.name, weight.values.dims[0]
        target.value_info.append(_declaration(name, weight.values.data_type, weight.dims))
        sparse.append(f"# sparse: {name}, {count} of {int(np.prod(weight.dims))} elements")
    weights = {info.name for info in target.value_info} | {tensor.name for tensor in target.initializer}
    target.value_info.extend(i for i in source.value_info if i.name not in weights and i.type.WhichOneof("value"))
    for node in source.node:
        made = target.node.add(op_type=node.op_type)
        for field in ("domain", "name", "overload"):
            if getattr(node, field):
                setattr(made, field, getattr(node, field))
        made.input.extend(node.input)
        made.output.extend(node.output)
        for attribute in sorted(node.attribute, key=lambda a: a.name):
            _normalize_attribute(attribute, made.attribute.add(), sparse)


def _normalize_attribute(source: onnx.AttributeProto, target: onnx.AttributeProto, sparse: list[str]) -> None:
    target.name, target.type = source.name, source.type
    if source.type == onnx.AttributeProto.GRAPH:
        _normalize(source.g, target.g, sparse)
    elif source.type == onnx.AttributeProto.TENSOR:
        shown = _is_shown(source.t) or source.t.data_type == onnx.TensorProto.STRING
        target.t.CopyFrom(_plain(source.t) if shown else onnx.TensorProto(dims=source.t.dims))
        target.t.data_type = source.t.data_type
    elif source.type == onnx.AttributeProto.SPARSE_TENSOR:
        # The printer writes nothing for these; a string in their place keeps the text parseable.
        target.type = onnx.AttributeProto.STRING
        target.s = f"sparse tensor {list(source.sparse_tensor.dims)}".encode()
    else:
        target.CopyFrom(source)
        target.ClearField("doc_string")
        target.s = _printable(source.s)
        target.strings[:] = [_printable(text) for text in source.strings]


def _printable(text: bytes) -> bytes:
    """The bytes with non-UTF-8 sequences escaped, because the printer treats everything as text."""
    return text.decode(errors="backslashreplace").encode()


def _is_shown(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type in _SHOWN_TYPES and int(np.prod(tensor.dims)) <= SHOWN


def _plain(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The tensor without documentation and metadata, its data in the field that the printer reads."""
    made = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    if tensor.data_type == onnx.TensorProto.STRING:
        made.string_data.extend(tensor.string_data)
        return made
    values = [int(value) for value in numpy_helper.to_array(tensor).ravel()]
    (made.int64_data if tensor.data_type == onnx.TensorProto.INT64 else made.int32_data).extend(values)
    return made


def _declaration(name: str, element: int, shape: Iterable[int]) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, element, list(shape))


def from_text(text: str) -> Model:
    """The model that `text` describes, with weights filled from seeds of their names. Raises ModelError."""
    try:
        proto = onnx.parser.parse_model(text)
    except onnx.parser.ParseError as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise ModelError(f"the text is not a model: {' '.join(reason.split())}") from None
    for node in _walk(proto.graph):
        if not node.domain:  # the parser sets an empty domain, which files from elsewhere leave unset
            node.ClearField("domain")
    positive = {name for node in _walk(proto.graph) for name in _positive_inputs(node)}
    for graph in _graphs(proto.graph):
        _fill(graph, positive)
    return Model.from_proto(proto)


def _positive_inputs(node: onnx.NodeProto) -> list[str]:
    """Scales and variances, without which the operator means nothing."""
    facts = ops.named(node.op_type, node.domain)
    return [name for slot, name in enumerate(node.input) if slot in facts.scales or slot in facts.positive]


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _walk(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for body in _graphs(graph):
        yield from body.node


def _fill(graph: onnx.GraphProto, positive: set[str]) -> None:
    """Turn declarations that no node computes into initializers, and fill constants without data."""
    computed = {name for node in graph.node for name in node.output}
    declared = list(graph.value_info)
    del graph.value_info[:]
    for info in declared:
        if info.name in computed:
            graph.value_info.append(info)
        else:
            graph.initializer.append(_drawn(info, is_positive=info.name in positive))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and _is_hollow(attribute.t):
                info = _declaration(node.output[0], attribute.t.data_type, attribute.t.dims)
                attribute.t.CopyFrom(_drawn(info, is_positive=node.output[0] in positive))
                attribute.t.name = ""


def _is_hollow(tensor: onnx.TensorProto) -> bool:
    return not any(f.name.endswith("_data") and v for f, v in tensor.ListFields()) and 0 not in tensor.dims


def _drawn(info: onnx.ValueInfoProto, *, is_positive: bool) -> onnx.TensorProto:
    """A tensor of the declared type and shape whose values depend only on its name."""
    shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    element = info.type.tensor_type.elem_type
    if element == onnx.TensorProto.STRING:
        return numpy_helper.from_array(np.full(shape, info.name, object), info.name)
    dtype = numpy_dtype(onnx.TensorProto(name=info.name, data_type=element))
    rng = np.random.default_rng(crc32(info.name.encode()))
    return numpy_helper.from_array(_values(rng, shape, dtype, is_positive=is_positive), info.name)


def _values(rng: np.random.Generator, shape: list[int], dtype: np.dtype, *, is_positive: bool) -> np.ndarray:
    if dtype.kind in "biu" or dtype.name in _RANGES:
        low, high = _RANGES.get(dtype.name, (0, 2))
        return np.asarray(rng.integers(low, high, shape)).astype(dtype)
    if is_positive:
        return np.asarray(rng.uniform(0.5, 1.5, shape)).astype(dtype)
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 1
    return np.asarray(rng.standard_normal(shape) / np.sqrt(max(1, fan_in))).astype(dtype)
