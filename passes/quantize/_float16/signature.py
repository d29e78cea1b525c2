"""Which inputs and outputs of an operator may be float16, by ONNX's definition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import onnx

from onnx_compress.compiler.ir.graph import Node

HALF = "tensor(float16)"


@dataclass(frozen=True)
class OperatorTypes:
    """The type variables of inputs and outputs, and those variables that admit float16."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    admitting: frozenset[str]

    def input_variable(self, slot: int) -> str:
        """The type variable of an input; the last one repeats (Concat, Sum)."""
        return self.inputs[min(slot, len(self.inputs) - 1)]

    def output_variable(self, slot: int) -> str:
        """The type variable of an output."""
        return self.outputs[min(slot, len(self.outputs) - 1)]


def signature(node: Node, opset: int) -> OperatorTypes | None:
    """None for operators of other domains, unknown ones, and those with bodies."""
    if not node.is_standard or any(node.bodies()):
        return None
    return _signature(node.op, opset)


@lru_cache(maxsize=512)
def _signature(op: str, opset: int) -> OperatorTypes | None:
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None
    admitting = {c.type_param_str for c in schema.type_constraints if HALF in c.allowed_type_strs}
    return OperatorTypes(
        tuple(p.type_str for p in schema.inputs), tuple(p.type_str for p in schema.outputs), frozenset(admitting)
    )
