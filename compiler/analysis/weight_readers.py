"""Find the weights of a model and their readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant

SLOTS: dict[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (1,),
    "MatMul": (0, 1),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "Gather": (0,),
}
"""Inputs that are weights; biases, parameters of normalizations, and shapes are not."""


@dataclass
class ModelWeight:
    """A constant that is a weight: `kept` are the axes of its output channels, `readers` its (node, slot) pairs."""

    constant: Constant
    kept: tuple[int, ...]
    readers: list[tuple[Node, int]] = field(default_factory=list)

    @property
    def is_matmul(self) -> bool:
        """Whether it is a matrix read only by MatMul, as the right operand."""
        return len(self.constant.shape) == 2 and all(n.is_op("MatMul") and slot == 1 for n, slot in self.readers)


def find_weights(
    model: Model, is_excluded: Callable[[Node], bool], refuse: Callable[[Node, str], None]
) -> list[ModelWeight]:
    """Every float32 weight of rank 2 or more that `read_weights` finds."""
    found = read_weights(model, lambda dtype: dtype == np.float32, is_excluded, refuse)
    return [ModelWeight(constant, _kept(*readers[0], constant), readers) for constant, readers in found]


def read_weights(
    model: Model,
    is_wanted: Callable[[np.dtype], bool],
    is_excluded: Callable[[Node], bool],
    refuse: Callable[[Node, str], None],
) -> list[tuple[Constant, list[tuple[Node, int]]]]:
    """Weights of rank 2 or more with their readers (node, slot), including bodies, in the order of first readers.

    Weights that an excluded node reads are left out. Weights that a caller may override (an initializer that is
    also an input) are left out and reported to `refuse`.
    """
    found: dict[int, tuple[Constant, list[tuple[Node, int]]]] = {}
    barred = set()
    overridable = {id(tensor) for tensor in model.graph.inputs}
    for node in model.nodes():
        for slot in SLOTS.get(node.op, ()) if node.is_standard else ():
            constant = input_constant(node, slot)
            if constant is None or not is_wanted(constant.stored.dtype) or len(constant.shape) < 2:
                continue
            if id(constant) in overridable:
                refuse(node, f"its weight '{constant.name}' is also an input, which a caller may override")
                barred.add(id(constant))
            if is_excluded(node):
                barred.add(id(constant))
            found.setdefault(id(constant), (constant, []))[1].append((node, slot))
    return [weight for key, weight in found.items() if key not in barred]


def _kept(node: Node, slot: int, constant: Constant) -> tuple[int, ...]:
    rank = len(constant.shape)
    if node.op == "MatMul":
        summed = rank - 2 if slot == 1 else rank - 1
        return tuple(axis for axis in range(rank) if axis != summed)
    if node.op == "Gemm":
        return (0,) if node.attrs.get("transB", 0) else (1,)
    if node.op == "Gather":
        return (node.attrs.get("axis", 0) % rank,)
    return {"Conv": (0,), "ConvTranspose": (1,)}.get(node.op, (0, 1))
