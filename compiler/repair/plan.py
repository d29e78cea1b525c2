"""Which layers are refitted, in which order, and what each aims at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from onnx_compress.compiler.ir.graph import Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.aims import Aim, aim_of, value_aim
from onnx_compress.compiler.repair.changes import changed_values
from onnx_compress.compiler.repair.layers import Layer
from onnx_compress.compiler.repair.prefix import static_values
from onnx_compress.compiler.repair.recognize import Seen, View, has_weight, recognize
from onnx_compress.compiler.repair.reference import Reference, Wanted
from onnx_compress.compiler.repair.statistics import Normalization
from onnx_compress.compiler.runtime.capture import Capture

ROWS_PER_UNKNOWN, LEAST_ROWS = 24, 1 << 15
MOST_PRODUCTS = 1 << 38
"""Multiplications that the normal equations of one layer may take; beyond, fewer rows are sampled."""

Choice = Callable[[Node], bool]


@dataclass(frozen=True, eq=False)
class Step:
    """One layer to be fitted, and its aim."""

    layer: Layer | Normalization
    aim: Aim

    @property
    def node(self) -> Node:
        """The node with the weights."""
        return self.layer.node

    @property
    def needs(self) -> tuple[Variable, ...]:
        """The values of the compressed model that go into it."""
        return tuple(dict.fromkeys((self.layer.source, *self.aim.beside)))

    @property
    def wanted(self) -> Wanted:
        """What it needs of the original."""
        unknowns = 1 if isinstance(self.layer, Normalization) else self.layer.weights().shape[1] + 1
        rows = min(max(LEAST_ROWS, ROWS_PER_UNKNOWN * unknowns), MOST_PRODUCTS // unknowns**2)
        return Wanted(self.aim.axis, rows)


@dataclass(frozen=True)
class Refusal:
    """A layer that differs from the original's and can't be fitted, and why."""

    node: Node
    reason: str


def plan(
    model: Model, reference: Reference, choice: Choice | None = None, touched: Choice | None = None
) -> Iterator[Step | Refusal]:
    """The layers of `model` that `choice` allows (None: all) and that differ from the original's, front to back.

    Those `touched` are about to differ.
    """
    changed = changed_values(model, reference.original, touched)
    static = static_values(model)
    nodes = [node for node in model.graph.nodes if _is_concerned(node, changed, static)]
    nodes = [node for node in nodes if choice is None or choice(node)]
    if not nodes:
        return
    view = View(model, static, _seen(model, nodes, reference, static))
    order = {node: i for i, node in enumerate(nodes)}
    for node in nodes:
        layer = Normalization.of(node) if node.is_op("BatchNormalization") else recognize(node, view)
        if isinstance(layer, str):
            yield Refusal(node, layer)
            continue
        if isinstance(layer, Normalization):
            aim = value_aim(layer.source, 1, view, reference.names)
        else:
            aim = aim_of(layer, view, reference.names, order)
        yield Refusal(node, aim) if isinstance(aim, str) else Step(layer, aim)


def _is_concerned(node: Node, changed: set[Tensor], static: set[Tensor]) -> bool:
    if node.is_op("BatchNormalization"):
        return node.inputs[0] in changed
    return has_weight(node, static) and node.outputs[0] in changed and node.outputs[0] not in static


def _seen(model: Model, nodes: Sequence[Node], reference: Reference, static: set[Tensor]) -> dict[str, Seen]:
    """Shapes of the values around `nodes` in a run of one sample; it also says how many samples a run may hold."""
    around = [tensor for node in nodes for tensor in (*node.inputs, *_behind(node))]
    names = [t.name for t in around if isinstance(t, Variable) and t.name and t not in static]
    arrays = next(Capture(model, names).batches(reference.data.take(1), 1))
    reference.limit(sum(array.nbytes for array in arrays.values()))
    return {name: Seen(array.shape, array.dtype) for name, array in arrays.items()}


def _behind(node: Node) -> Iterator[Tensor]:
    """The output of a node, and those of additions behind it: a bias, and a residual sum."""
    yield node.outputs[0]
    for reader in node.outputs[0].outputs:
        if reader.is_op("Add", "Sum"):
            yield reader.outputs[0]
            yield from (last.outputs[0] for last in reader.outputs[0].outputs if last.is_op("Add", "Sum"))
