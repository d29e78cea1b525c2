"""What every pass must leave behind: a valid model that loads, with the same inputs and outputs."""

from __future__ import annotations

import numpy as np
import onnx

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.files.exporter import placeholders_as_inputs
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.specs import specs


def check_input(model: Model) -> None:
    """Raise ModelError unless the user's model is valid, has no NaN weights, and runs in onnxruntime."""
    _check_weights(model)
    fault = fault_of(model)
    if fault is not None:
        raise ModelError(fault)
    session.create(model, optimize=False)


def _check_weights(model: Model) -> None:
    attributes = [v for node in model.nodes() for v in node.attrs.values() if isinstance(v, Constant)]
    for constant in (*model.constants(), *attributes):
        if np.issubdtype(constant.stored.dtype, np.floating) and _has_nan(constant.values):
            where = f"{model.path}: " if model.path else ""
            raise ModelError(
                f"{where}initializer '{constant.name}' contains NaN: the model is broken; "
                "export it again from sound weights"
            )


def _has_nan(values: np.ndarray) -> bool:
    """Checked in blocks, so that a large weight never needs a mask of its own size."""
    flat = values.reshape(-1)
    return any(bool(np.isnan(flat[i : i + (1 << 22)]).any()) for i in range(0, flat.size, 1 << 22))


def fault_of(model: Model) -> str | None:
    """The ONNX checker's objection in one line, or None."""
    try:
        onnx.checker.check_model(checkable(model))
    except Exception as error:  # the checker's, the inference's and protobuf's errors have no common base
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"not a valid ONNX model: {' '.join(lines)[:400]}"
    return None


def checkable(model: Model) -> onnx.ModelProto:
    """The model in a form that the checker accepts at any size: large weights become inputs or empty tensors."""
    proto = model.skeleton()
    for graph in _graphs(proto.graph):
        _empty_attributes(graph)
        placeholders_as_inputs(graph, proto.graph)
    return proto


def _empty_attributes(graph: onnx.GraphProto) -> None:
    """Empty the large tensors in attributes (of Constant nodes), because the checker would look for their data."""
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.t.data_location == onnx.TensorProto.EXTERNAL:
            attribute.t.CopyFrom(onnx.TensorProto(name=attribute.t.name, data_type=attribute.t.data_type, dims=[0]))


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _graphs(attribute.g)
    return found


def signature_change(before: Model, after: Model, *, outputs_only: bool = False) -> str | None:
    """How the inputs, unless `outputs_only`, or the outputs of two models differ, in one line, or None."""
    old, new = specs(before), specs(after)
    inputs = () if outputs_only else (("input", old.inputs, new.inputs),)
    for kind, was, now in (*inputs, ("output", old.outputs, new.outputs)):
        if was != now:
            pairs = zip([*was, None], [*now, None], strict=False)
            first = next((a, b) for a, b in pairs if a != b)
            return f"its {kind} {first[0]} became {first[1]}"
    return None
