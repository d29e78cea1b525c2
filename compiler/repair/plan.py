"""Which layers are refitted, in which order, and the aim of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.behind_activation import Bounds, bounds_behind
from onnx_compress.compiler.repair.changes import changed_values
from onnx_compress.compiler.repair.effort import FULL, Effort
from onnx_compress.compiler.repair.layers import Convolution, LinearLayer, Product
from onnx_compress.compiler.repair.original_activations import Reference, Wanted
from onnx_compress.compiler.repair.present_activations import static_values
from onnx_compress.compiler.repair.refittable_layers import Seen, View, has_weight, recognize
from onnx_compress.compiler.repair.statistics import Normalization
from onnx_compress.compiler.repair.targets import Aim, aim_of, value_aim
from onnx_compress.compiler.runtime.capture import Capture

LEAST_ROWS = 1 << 15
"""Least rows at full effort, for layers with few unknowns."""
MOST_PRODUCTS = 1 << 37
"""Multiplications allowed for the normal equations of one layer; above this, fewer rows are sampled."""

Choice = Callable[[Node], bool]


@dataclass(frozen=True, eq=False)
class FitStep:
    """One layer to fit, and its aim.

    `first` is the layer before it and the bounds between them, where the two can be fitted together.
    """

    layer: LinearLayer | Normalization
    aim: Aim
    rows: int = FULL.rows
    """Rows per unknown."""
    first: tuple[LinearLayer, Bounds] | None = None

    @property
    def node(self) -> Node:
        """The node with the weights."""
        return self.layer.node

    @property
    def needs(self) -> tuple[Variable, ...]:
        """The values of the compressed model that the fit reads."""
        return tuple(dict.fromkeys((self.layer.source, *self.aim.addends)))

    @property
    def wanted(self) -> Wanted:
        """The values of the original that the fit needs."""
        unknowns = 1 if isinstance(self.layer, Normalization) else self.layer.weights().shape[1] + 1
        least = LEAST_ROWS * self.rows // FULL.rows
        rows = min(max(least, self.rows * unknowns), MOST_PRODUCTS // unknowns**2)
        return Wanted(self.aim.axis, rows)


@dataclass(frozen=True)
class Refusal:
    """A layer that differs from the original's and can't be fitted, and why."""

    node: Node
    reason: str


def plan(
    model: Model,
    reference: Reference,
    choice: Choice | None = None,
    effort: Effort = FULL,
    touched: Choice | None = None,
) -> Iterator[FitStep | Refusal]:
    """The layers of `model` that `choice` allows (None: all) and that differ from the original's, front to back.

    Each is fitted with this effort. Layers for which `touched` is true count as different: they will be.
    """
    changed = changed_values(model, reference.original, touched)
    static = static_values(model)
    nodes = [node for node in model.graph.nodes if _is_concerned(node, changed, static)]
    nodes = [node for node in nodes if choice is None or choice(node)]
    if not nodes:
        return
    view = View(model, static, _seen(model, nodes, reference, static))
    order = {node: i for i, node in enumerate(nodes)}
    last: LinearLayer | Normalization | None = None
    for node in nodes:
        layer = Normalization.of(node) if node.is_op("BatchNormalization") else recognize(node, view)
        if isinstance(layer, str):
            yield Refusal(node, layer)
            continue
        if isinstance(layer, Normalization):
            aim = value_aim(layer.source, 1, view, reference.origin)
        else:
            aim = aim_of(layer, view, reference.origin, order)
        if isinstance(aim, str):
            yield Refusal(node, aim)
            continue
        yield FitStep(layer, aim, effort.rows, _first(layer, last, view) if effort.pairs else None)
        last = layer


def _first(
    layer: LinearLayer | Normalization, last: LinearLayer | Normalization | None, view: View
) -> tuple[LinearLayer, Bounds] | None:
    """The layer fitted just before, if its output reaches only `layer`, through a Relu or Clip."""
    if type(layer) is not type(last) or not isinstance(layer, Convolution | Product):
        return None
    assert isinstance(last, Convolution | Product)
    between = view.sole_reader(last.result)
    bounds = bounds_behind(last.result, view)
    if between is None or bounds is None or view.sole_reader(between.outputs[0]) is not layer.node:
        return None
    is_plain = _is_plain(last) and _is_plain(layer)
    return (last, bounds) if is_plain and layer.source is between.outputs[0] else None


def _is_plain(layer: Convolution | Product) -> bool:
    """Whether the layer has a bias, neither groups nor a codebook, and the same rows in its input and output."""
    is_straight = isinstance(layer, Convolution) or (layer.axis == -1 and not layer.is_input_transposed)
    return is_straight and len(layer.weights()) == 1 and layer.bias is not None and not layer.is_tied


def _is_concerned(node: Node, changed: set[Tensor], static: set[Tensor]) -> bool:
    if node.is_op("BatchNormalization"):
        return node.inputs[0] in changed
    if not has_weight(node, static) or node.outputs[0] in static:
        return False
    return node.outputs[0] in changed or any(True for _ in _other_sums(node, changed))


def _other_sums(node: Node, changed: set[Tensor]) -> Iterator[Tensor]:
    """The sums behind a node that differ although no computed term does: they replace another value.

    A sum whose constant term, a bias, has changed is one of them.
    """
    for value in (value for value in _behind(node) if value is not node.outputs[0]):
        if value in changed and not any(term in changed for term in value.inputs[0].inputs):
            yield value


def _seen(model: Model, nodes: Sequence[Node], reference: Reference, static: set[Tensor]) -> dict[str, Seen]:
    """Shapes of the values around `nodes` in a run of one sample, whose bytes also limit the samples per run."""
    around = [tensor for node in nodes for tensor in (*node.inputs, *_behind(node))]
    names = [t.name for t in around if isinstance(t, Variable) and t.name and t not in static]
    arrays = next(Capture(model, names).batches(reference.data.take(1), 1))
    reference.limit(sum(array.nbytes for array in arrays.values()))
    return {name: Seen(array.shape, array.dtype) for name, array in arrays.items()}


def _behind(node: Node) -> Iterator[Tensor]:
    """The outputs of a node and of the additions behind it: a bias, and a residual sum."""
    yield node.outputs[0]
    for reader in node.outputs[0].outputs:
        if ops.of(reader).adds:
            yield reader.outputs[0]
            yield from (last.outputs[0] for last in reader.outputs[0].outputs if ops.of(last).adds)
