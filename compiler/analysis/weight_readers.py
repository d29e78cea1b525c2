"""Find the weights of a model and their readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.analysis.weight_expressions import MAX_STEPS
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Constant, Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant, source_of

Reader = tuple[Node, int]
"""A node and the input at which it reads."""


@dataclass
class ModelWeight:
    """A constant that is a weight: `kept` are the axes of its output channels, `readers` its (node, slot) pairs."""

    constant: Constant
    kept: tuple[int, ...]
    readers: list[Reader] = field(default_factory=list)

    @property
    def is_matmul(self) -> bool:
        """Whether it is a matrix read only by MatMul, as the right operand."""
        node, slot = self.readers[0]
        everyone = readers_of(node.inputs[slot])
        return len(self.constant.shape) == 2 and all(n.is_op("MatMul") and at == 1 for n, at in everyone)


def readers_of(tensor: Tensor) -> list[Reader]:
    """The nodes that compute with the weight behind `tensor`, and where they read it.

    `tensor` is a weight, or a copy of one behind Identity nodes. Nodes that read only constants (Identity, Transpose,
    Cast, DequantizeLinear, Concat, …) pass the weight on: their readers count instead of them.
    """
    return [reader for reader, is_passed in _everyone(tensor) if not is_passed]


def is_read_by(tensor: Tensor, is_wanted: Callable[[Node], bool]) -> bool:
    """Whether a wanted node computes with the weight behind `tensor`, or passes it on; see `readers_of`."""
    return any(is_wanted(node) for (node, _), _ in _everyone(tensor))


def makes_constant(node: Node, steps: int = MAX_STEPS) -> bool:
    """Whether a node computes from constants alone, so that its outputs always have the same values."""
    if node.is_op("Constant"):
        return True
    given = [tensor for tensor in node.inputs if tensor.name]
    is_plain = bool(given) and not any(True for _ in node.bodies())
    return is_plain and all(_is_constant(tensor, steps) for tensor in given)


def _is_constant(tensor: Tensor, steps: int) -> bool:
    if isinstance(tensor, Constant):
        return True
    return steps > 0 and bool(tensor.inputs) and makes_constant(tensor.inputs[0], steps - 1)


def _everyone(tensor: Tensor) -> Iterator[tuple[Reader, bool]]:
    """Readers of the weight behind `tensor`, each with whether it only passes the weight on."""
    waiting = [source_of(tensor)]
    for value in waiting:
        for node in dict.fromkeys(value.outputs):
            is_passed = makes_constant(node)
            yield from (((node, slot), is_passed) for slot, read in enumerate(node.inputs) if read is value)
            if is_passed:
                waiting.extend(out for out in node.outputs if out not in waiting)


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
) -> list[tuple[Constant, list[Reader]]]:
    """Weights of rank 2 or more with their readers (node, slot), including bodies, in the order of first readers.

    Weights that an excluded node reads (see `is_read_by`) are left out. Weights that a caller may override (an
    initializer that is also an input) are left out and reported to `refuse`.
    """
    found: dict[int, tuple[Constant, list[Reader]]] = {}
    barred = set()
    overridable = {id(tensor) for tensor in model.graph.inputs}
    for node in model.nodes():
        for slot in ops.of(node).weights if node.is_standard else ():
            constant = input_constant(node, slot)
            if constant is None or not is_wanted(constant.stored.dtype) or len(constant.shape) < 2:
                continue
            if id(constant) in overridable:
                refuse(node, f"its weight '{constant.name}' is also an input, which a caller may override")
                barred.add(id(constant))
            if id(constant) not in found and is_read_by(node.inputs[slot], is_excluded):
                barred.add(id(constant))
            found.setdefault(id(constant), (constant, []))[1].append((node, slot))
    return [weight for key, weight in found.items() if key not in barred]


def _kept(node: Node, slot: int, constant: Constant) -> tuple[int, ...]:
    rank = len(constant.shape)
    if node.op == "MatMul":
        summed = rank - 2 if slot == 1 else rank - 1
        return tuple(axis for axis in range(rank) if axis != summed)
    if node.op == "Gemm":
        is_turned = bool(node.attrs.get("transB" if slot == 1 else "transA", 0))
        return (int(is_turned == (slot == 0)),)
    if node.op == "Gather":
        return (node.attrs.get("axis", 0) % rank,)
    return (0, 1) if ops.of(node).family is ops.Family.RECURRENT else (int(node.op == "ConvTranspose"),)
