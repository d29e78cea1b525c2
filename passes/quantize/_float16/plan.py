"""Plan which nodes compute in float16, and insert the Casts between them and the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import is_read_by, makes_constant
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime import session
from onnx_compress.passes.quantize._float16 import casts
from onnx_compress.passes.quantize._float16.casts import FLOAT, HALF
from onnx_compress.passes.quantize._float16.limits import loss, range_loss
from onnx_compress.passes.quantize._float16.signature import OperatorTypes, signature
from onnx_compress.passes.quantize._int8.calibrate import observe
from onnx_compress.passes.quantize._int8.histogram import Histogram


class HalfPlan:
    """The nodes of one model's main graph that will compute in float16 (`halved`); `apply` rewrites the model."""

    def __init__(self, model: Model, ctx: Context) -> None:
        self.model = model
        self.floats = _float_values(model)
        seen = observe(model, [name for name in self.floats if name], ctx, spread=False)
        self.signatures: dict[int, OperatorTypes] = {}
        self.halved: list[Node] = []
        for node in model.graph.nodes:
            if node.is_op("Constant"):
                continue
            found = signature(node, model.opset)
            reason = "" if found is None else self._obstacle(node, seen, ctx)
            if found is None and self._touches_floats(node):
                ctx.skip(node, _why_float(node))
            elif reason:
                ctx.skip(node, f"stays float32: {reason}")
            elif found is not None and self._half_slots(node, found):
                self.signatures[id(node)] = found
                self.halved.append(node)

    def _touches_floats(self, node: Node) -> bool:
        return any(self._is_float(tensor) for tensor in (*node.inputs, *node.outputs))

    def _is_float(self, tensor: Tensor) -> bool:
        if isinstance(tensor, Constant):
            return bool(tensor.stored.dtype == np.float32)
        return tensor.name in self.floats

    def _obstacle(self, node: Node, seen: Mapping[str, Histogram], ctx: Context) -> str:
        if ctx.is_excluded(node):
            return "excluded"
        if makes_constant(node) and any(is_read_by(out, ctx.is_excluded) for out in node.outputs):
            return "an excluded layer reads the weight that it passes on"
        if _crashes(node):
            return "onnxruntime crashes when it fuses such a Transpose in float16 with the MatMul behind it"
        for tensor in (*node.inputs, *node.outputs):
            constant = constant_of(tensor) if tensor.name else None
            if constant is not None and constant.stored.dtype == np.float32:
                reason = loss(constant.values)
            elif tensor.name in seen and seen[tensor.name].count:
                reason = range_loss(seen[tensor.name].low, seen[tensor.name].high)
            else:
                continue
            if reason:
                return f"'{tensor.name}' {reason}"
        return ""

    def _half_slots(self, node: Node, found: OperatorTypes) -> list[int]:
        """The inputs that are float16 if the node is; [-1] for Cast and ConstantOfShape, which have none."""
        if node.is_op("Cast", "ConstantOfShape"):
            return [-1] if self._is_float(node.outputs[0]) and _makes_float(node) else []
        return [
            slot
            for slot, tensor in enumerate(node.inputs)
            if tensor.name and self._is_float(tensor) and found.input_variable(slot) in found.admitting
        ]

    def _half_outputs(self, node: Node) -> list[Variable]:
        found = self.signatures[id(node)]
        if node.is_op("Cast", "ConstantOfShape"):
            return [out for out in node.outputs if isinstance(out, Variable)]
        variables = {found.input_variable(slot) for slot in self._half_slots(node, found)}
        return [
            out
            for slot, out in enumerate(node.outputs)
            if out.name and self._is_float(out) and found.output_variable(slot) in variables
            if isinstance(out, Variable)
        ]

    def apply(self) -> None:
        """Change types, then insert Casts where a reader needs another type than the value has."""
        wanting: dict[Tensor, list[tuple[Node, int]]] = {}
        for node in self.halved:
            for slot in self._half_slots(node, self.signatures[id(node)]):
                if slot >= 0:
                    wanting.setdefault(node.inputs[slot], []).append((node, slot))
        made = [out for node in self.halved for out in self._half_outputs(node)]
        for node in self.halved:
            _set_made_type(self.model, node)
        for variable in made:
            self._made_half(variable, wanting.pop(variable, []))
        for tensor, slots in wanting.items():
            is_fixed = any(tensor is given for given in self.model.graph.inputs)
            if isinstance(tensor, Constant) and not is_fixed:
                casts.constant_for(self.model, tensor, slots)
            else:
                casts.cast_for(self.model, tensor, slots, HALF)
        edit.sweep(self.model)

    def _made_half(self, variable: Variable, wanting: list[tuple[Node, int]]) -> None:
        """Make `variable` float16: readers that need float32 get a Cast, an output keeps its type."""
        others = [use for use in edit.uses(self.model, variable) if use not in wanting]
        if edit.is_output(self.model, variable):
            raw = casts.keep_output(self.model, variable)
            for node, slot in wanting:
                edit.set_input(self.model, node, slot, raw)
            return
        edit.set_type(self.model, variable, HALF)
        if others:
            casts.cast_for(self.model, variable, others, FLOAT)


def _float_values(model: Model) -> dict[str, None]:
    """Names of the float32 values of the main graph, by onnxruntime's types."""
    names = [out.name for node in model.graph.nodes for out in node.outputs if out.name]
    given = [tensor.name for tensor in model.inputs()]
    specs = session.create(model, outputs=list(dict.fromkeys([*given, *names]))).outputs
    return {spec.name: None for spec in specs if spec.dtype == np.float32}


def _crashes(node: Node) -> bool:
    """Whether a MatMul reads a Transpose that moves the first axis, on which onnxruntime 1.32 crashes."""
    is_moving = node.is_op("Transpose") and tuple(node.attrs.get("perm", (1, 0))).index(0) != 0
    return is_moving and any(reader.is_op("MatMul") for reader in node.outputs[0].outputs)


def _why_float(node: Node) -> str:
    if any(node.bodies()):
        return "stays float32: its bodies are not converted; kind=storage stores their weights as float16"
    return "stays float32: ONNX does not define its operator for float16"


def _makes_float(node: Node) -> bool:
    if node.is_op("Cast"):
        return bool(node.attrs.get("to") == FLOAT)
    return True


def _set_made_type(model: Model, node: Node) -> None:
    """Set the output type of Cast and ConstantOfShape, which is an attribute, to float16."""
    if node.is_op("Cast"):
        edit.set_attr(model, node, "to", HALF)
    elif node.is_op("ConstantOfShape"):
        value = node.attrs.get("value")
        filled = value.values if isinstance(value, Constant) else np.zeros(1, np.float32)
        edit.set_attr(model, node, "value", filled.astype(np.float16))
