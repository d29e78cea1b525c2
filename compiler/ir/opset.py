"""Convert a model to a newer opset, only when something needs it."""

from __future__ import annotations

import onnx
import onnx.version_converter

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.files.exporter import export_graph, placeholder, placeholders_as_inputs
from onnx_compress.compiler.ir.graph import Constant, Variable
from onnx_compress.compiler.ir.model import LEAST_IR_OF_DEFAULTS, PLACEHOLDER_LIMIT, Model
from onnx_compress.compiler.ir.replace import replace_content


def raise_opset(model: Model, version: int) -> str | None:
    """Convert `model` in place to at least opset `version`, with onnx's version converter.

    Returns None on success; otherwise the reason in one line, and the model is unchanged. Large weights are kept out
    of the converter, so any size works. The caller must measure whether the numerics stay the same.
    """
    if model.opset >= version:
        return None
    try:
        converted = onnx.version_converter.convert_version(_light(model), version)
        result = Model.from_proto(converted)
    except (ModelError, RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        return f"onnx's version converter can't raise it from opset {model.opset}: {reason}"
    _give_weights_back(model, result)
    replace_content(model, result)
    if model.header.ir_version < LEAST_IR_OF_DEFAULTS:
        # Old IR versions list initializers as inputs. In newer ones that makes them defaults, which can't be folded.
        model.graph.inputs = list(model.inputs())
    least = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", version)])
    model.header.ir_version = max(model.header.ir_version, least)
    return None


def _is_heavy(constant: Constant) -> bool:
    return constant.nbytes > PLACEHOLDER_LIMIT


def _light(model: Model) -> onnx.ModelProto:
    """The model with the main graph's large initializers replaced by inputs."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.header)
    # Below IR version 4 the converter sees only initializers that are also inputs; those added by passes are not.
    proto.ir_version = max(proto.ir_version, LEAST_IR_OF_DEFAULTS)
    graph = export_graph(model.graph, lambda c: placeholder(c, PLACEHOLDER_LIMIT), is_dense=True)
    placeholders_as_inputs(graph, graph)
    proto.graph.CopyFrom(graph)
    return proto


def _give_weights_back(model: Model, result: Model) -> None:
    """Replace the placeholder inputs in `result` by the weights of `model`."""
    stand_ins = {tensor.name: tensor for tensor in result.graph.inputs}
    for constant in model.graph.initializers:
        stand_in = stand_ins.get(constant.name)
        if _is_heavy(constant) and isinstance(stand_in, Variable):
            twin = Constant(constant.name, constant.stored)
            twin.share_structure(constant)
            edit.replace_uses(result, stand_in, twin)
            result.graph.initializers.append(twin)
            result.graph.inputs = [twin if t is stand_in else t for t in result.graph.inputs]
    declared = {tensor.name for tensor in model.graph.inputs}
    result.graph.inputs = [tensor for tensor in result.graph.inputs if tensor.name in declared]
    place = {constant.name: i for i, constant in enumerate(model.graph.initializers)}
    result.graph.initializers.sort(key=lambda constant: place.get(constant.name, len(place)))
