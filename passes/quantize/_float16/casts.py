"""Give every reader of a value its element type, with at most one Cast per value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
Slots = Sequence[tuple[Node, int]]


def store_half(model: Model, constant: Constant, holder: Graph) -> None:
    """Store a constant as float16 and give its readers Cast(float16) under the old name, which is folded at load."""
    stored = edit.add_constant(
        model, constant.name, "half", constant.values.astype(np.float16), graph=holder, origin=constant.origin
    )
    result = edit.stand_in(constant)
    _cast_back(model, stored, result, before=holder.nodes[0])
    edit.replace_uses(model, constant, result)


def constant_for(model: Model, constant: Constant, wanting: Slots) -> None:
    """Let the slots `wanting` read the constant as float16; it is copied if other readers need float32."""
    half = constant.values.astype(np.float16)
    is_shared = len(wanting) < len(edit.uses(model, constant)) or edit.is_output(model, constant)
    if not is_shared:
        edit.replace_values(model, constant, half)
        return
    copy = edit.add_constant(model, constant.name, "half", half, origin=constant.origin)
    for node, slot in wanting:
        edit.set_input(model, node, slot, copy)


def cast_for(model: Model, tensor: Tensor, wanting: Slots, to: int) -> None:
    """Let the slots `wanting` read `tensor` cast to the type `to` (onnx.TensorProto's number)."""
    suffix = "half" if to == HALF else "float"
    producer = tensor.inputs[0] if tensor.inputs else None
    if producer is not None:
        cast = edit.add_node(model, "Cast", [tensor], base=tensor.name, suffix=suffix, after=producer, attrs={"to": to})
    else:
        first = model.graph.nodes[0]
        cast = edit.add_node(model, "Cast", [tensor], base=tensor.name, suffix=suffix, before=first, attrs={"to": to})
    for node, slot in wanting:
        edit.set_input(model, node, slot, cast.outputs[0])


def keep_output(model: Model, variable: Variable) -> Variable:
    """Keep an output's name and type while its producer computes in float16; return the float16 value."""
    raw = edit.divert(model, variable, "half")
    edit.set_type(model, raw, HALF)
    _cast_back(model, raw, variable, after=raw.inputs[0])
    return raw


def _cast_back(
    model: Model, half: Tensor, result: Variable, *, before: Node | None = None, after: Node | None = None
) -> None:
    """Add the Cast that computes `result` in float32, before or after a node."""
    edit.add_node(
        model,
        "Cast",
        [half],
        base=result.name,
        suffix="cast",
        before=before,
        after=after,
        attrs={"to": FLOAT},
        outputs=[result],
    )
